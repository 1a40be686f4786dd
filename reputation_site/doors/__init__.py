"""The doors for people: lock-outs, the second factor, single sign-on, and the record of who came in."""
