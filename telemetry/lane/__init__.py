"""The fast way in: an ASGI callable before Django that records many requests in one transaction.

It takes the plain case (a known token, a format it knows, a body within the limits) and leaves everything else to
Django, whose views are the one definition of what is refused and how. What is valid and how it is stored is decided by
the same functions in both: `intake.read` and `ingest.record_batches`.

Most of what a one-event request costs is its own commit. Requests that arrive while a commit is running are recorded
together by the next one: the running commit is the time window, there is no timer. Every request is answered after the
commit that holds its events.
"""
