"""What each setting means, for docs/settings.md (`make docs`). Types, bounds and defaults come from settings.py itself.

A variable without words here, or words without a variable, fail the tests and `manage.py reference`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """The meaning of a variable in one or two sentences, in Markdown."""

    meaning: str
    default: str = ""
    """In words, where the value itself depends on the machine or says little."""


GROUPS: dict[str, dict[str, Words]] = {
    "Where things are kept": {
        "GS_DATA_DIR": Words("The data folder: database, secret key, broker's socket.", "`data`"),
        "DATABASE_URL": Words(
            "`postgresql://user:password@host:port/name`, or `sqlite:////absolute/path`.", "SQLite in the data folder"
        ),
        "GS_DB_CONN_MAX_AGE": Words("Seconds a PostgreSQL connection is kept."),
        "GS_SQLITE_TIMEOUT": Words("Seconds a writer of SQLite waits for another one."),
        "GS_REPLICA_URL": Words("A read replica of the PostgreSQL database, for pages: see [scaling.md](scaling.md)."),
        "GS_REPLICA_MAX_LAG": Words("Seconds; pages leave a replica that is further behind."),
        "REDIS_URL": Words("`redis://host:6379/0`.", "the embedded broker"),
    },
    "The web process": {
        "GS_HOST": Words("The address on which `web` listens."),
        "GS_PORT": Words("The port on which `web` listens."),
        "GS_WEB_WORKERS": Words("Processes of `web`. SQLite wants one."),
        "GS_WEB_THREADS": Words("Threads of each of them, for pages and the API."),
        "GS_ALLOWED_HOSTS": Words("Host names it answers to."),
        "GS_TRUSTED_PROXIES": Words(
            "Proxies whose `X-Forwarded-For` is believed. The client is the right-most address there that is not one of"
            " them; without this setting it is whoever connected."
        ),
        "GS_CSRF_TRUSTED_ORIGINS": Words("Origins of forms behind a proxy, such as `https://standing.example.com`."),
        "GS_HTTPS": Words("A TLS proxy is in front: redirect to https, secure cookies, HSTS."),
        "GS_PUBLIC_URL": Words(
            "Where people reach the console, such as `https://standing.example.com`: links in alerts begin so."
        ),
    },
    "People and how they come in": {
        "GS_LOGIN_FAILURES": Words(
            "Wrong passwords after which a name is locked for an address: [security.md](security.md)."
        ),
        "GS_LOGIN_LOCKOUT": Words("Minutes for which it is locked."),
        "GS_SESSION_HOURS": Words("Hours after its last request at which a session ends."),
        "GS_REQUIRE_SECOND_FACTOR": Words(
            "Whoever logs in with a password has to set up a second factor; tokens are not concerned."
        ),
        "GS_REMOTE_USER_HEADER": Words(
            "The header in which a proxy of `GS_TRUSTED_PROXIES` names who has logged in there, such as"
            " `X-Remote-User`."
        ),
        "GS_OIDC_ISSUER": Words("The OpenID Connect provider of [single sign-on](security.md#single-sign-on)."),
        "GS_OIDC_CLIENT_ID": Words("What the provider calls us."),
        "GS_OIDC_CLIENT_SECRET": Words("Our secret there."),
        "GS_OIDC_NAME": Words("What the button on the login page calls it."),
        "GS_OIDC_ROLES": Words("The provider's groups with ours: `mail-team=operator, postmasters=admin`."),
        "GS_OIDC_GROUPS_CLAIM": Words("The claim that names a person's groups."),
        "GS_OIDC_USERNAME_CLAIM": Words("The claim that names the person."),
        "GS_OIDC_SCOPES": Words("What the provider is asked for."),
        "GS_OIDC_ALGORITHM": Words("How the provider signs."),
        "GS_SSO_CREATE_USERS": Words("Who comes by single sign-on and has no account becomes a viewer."),
    },
    "Secrets and safety": {
        "GS_SECRET_KEY": Words(
            "Signs sessions and tokens, seals stored secrets; keep it when you move.", "kept in the data folder"
        ),
        "GS_SECRET_KEY_PREVIOUS": Words("The old key, while you change it."),
        "GS_ALLOW_PRIVATE_URLS": Words(
            "Whether addresses that are typed in (metrics pages, alert channels) may lie in private networks."
        ),
        "GS_ALERT_SMTP_HOSTS": Words(
            "Mail servers that [alerts](alerts.md) may be handed to although they lie in a private network, such as"
            " `localhost`."
        ),
        "GS_DEBUG": Words("Django's debug pages; never where others can reach them."),
    },
    "Taking mail in": {
        "GS_MAX_BODY_BYTES": Words("Largest request body in bytes; larger ones are answered 413."),
        "GS_MAX_EVENTS_PER_REQUEST": Words("Most events in one request."),
        "GS_SOURCE_REQUESTS_PER_MINUTE": Words(
            "Requests that a source may send a minute unless it says otherwise; 0: no limit. More are answered 429."
        ),
        "GS_SOURCE_EVENTS_PER_MINUTE": Words("The same in events."),
        "GS_INGEST_MOST_WAITING": Words("Requests that may wait to be recorded in one `web` process; past it 503."),
        "GS_INGEST_MOST_WAITING_BYTES": Words("The same in bytes of their bodies."),
        "GS_INGEST_PATIENCE": Words("Seconds after which a waiting request is told to try again."),
        "GS_RECIPIENTS_OF_FAILURES": Words("What is kept of the recipient of a failure."),
        "GS_RECIPIENTS_OF_DELIVERIES": Words("What is kept of the recipient of a delivery."),
        "GS_SELF_TEST_API": Words("Whether the scenarios may be run over HTTP (by an admin)."),
    },
    "Work in the background": {
        "GS_WORKER_CONCURRENCY": Words("Tasks that a `worker` runs at once."),
        "GS_DNS_SERVERS": Words(
            "DNS servers for [blocklists](blocklists.md) and audits, each with `:port` if it likes.", "the system's"
        ),
        "GS_DNS_TIMEOUT": Words("Seconds a DNS server has for one try."),
        "GS_DNS_MOST_SOCKETS": Words(
            "DNS sockets open at once over all workers, and as many again in each `web` process."
        ),
        "GS_AUDIT_SMTP_PROBE": Words("Whether [audits](audit.md) may ask MX hosts on port 25; no message is sent."),
    },
    "Permits": {
        "GS_POLICYD_LISTEN": Words("Where [Postfix asks](postfix-services.md) its policy service; `off`: not at all."),
        "GS_SOCKETMAP_LISTEN": Words("Where Postfix asks for the transport; `off`: not at all."),
        "GS_PERMIT_MX_LOOKUPS": Words(
            "Whether permits learn by DNS which mailbox provider serves a recipient's domain."
        ),
    },
    "Metrics": {
        "GS_METRICS_TOKEN": Words(
            "Bearer token that [Prometheus](observability.md) shows for `/metrics`; without one only this machine and"
            " `GS_METRICS_NETWORKS` may read it."
        ),
        "GS_METRICS_NETWORKS": Words("Networks that may read `/metrics` without a token."),
        "GS_METRICS_DIR": Words("Where the processes of one machine count together.", "`metrics` in the data folder"),
        "GS_METRICS_HELD": Words("Seconds for which what the database says for `/metrics` is kept."),
        "GS_METRICS_MOST_IPS": Words("Sending IPs on `/metrics`, the worst first."),
        "GS_METRICS_MOST_DOMAINS": Words("Sending domains on `/metrics`, the worst first."),
    },
    "Logs": {
        "GS_LOG_FORMAT": Words("How a line of the log looks."),
        "GS_LOG_LEVEL": Words("The least severity that is logged."),
    },
}
