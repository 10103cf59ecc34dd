"""What blocks contain, without Prefect: the classes in `blocks/` add how Prefect stores and displays them."""
