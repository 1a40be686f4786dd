"""The REST shells of this floor: a few lines each around the services."""
