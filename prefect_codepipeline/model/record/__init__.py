"""The facts of an execution, and the states and events that follow from them."""
