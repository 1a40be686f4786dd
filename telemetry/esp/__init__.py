"""Mail service providers (ESPs): their webhooks, read and checked by django-anymail, as our events.

django-anymail knows each provider's payloads and signatures. Its views are used as objects, one per request and with
the secrets of one source; its URLs, its global settings and its signals are not.
"""
