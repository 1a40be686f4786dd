"""The OpenAPI document played against the real server by Schemathesis: ``make schemathesis``."""
