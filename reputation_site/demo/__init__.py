"""A believable day of mail for who wants to see the product before connecting a server."""
