"""Plain HTTP on the same port."""
