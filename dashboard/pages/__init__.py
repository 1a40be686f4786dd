"""One module per page: a frozen context, and the function that builds it."""
