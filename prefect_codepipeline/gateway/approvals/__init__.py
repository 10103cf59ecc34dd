"""The page on which people read and decide approvals."""
