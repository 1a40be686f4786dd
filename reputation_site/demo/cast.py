"""Who plays in the demo: sending IPs, their domains, and the providers they write to; documentation addresses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mailboxes:
    """A recipient domain, its MX host, and its share of ordinary mail (shares are relative)."""

    domain: str
    mx: str
    share: float


GMAIL = Mailboxes("gmail.com", "gmail-smtp-in.l.google.com", 34)
YAHOO = Mailboxes("yahoo.com", "mta5.am0.yahoodns.net", 7)
CONSUMERS = (
    GMAIL,
    Mailboxes("outlook.com", "outlook-com.olc.protection.outlook.com", 8),
    Mailboxes("hotmail.com", "hotmail-com.olc.protection.outlook.com", 8),
    Mailboxes("live.com", "live-com.olc.protection.outlook.com", 2),
    YAHOO,
    Mailboxes("aol.com", "mx-aol.mail.gm0.yahoodns.net", 2),
    Mailboxes("icloud.com", "mx01.mail.icloud.com", 5),
    Mailboxes("gmx.net", "mx00.emig.gmx.net", 4),
    Mailboxes("web.de", "mx-ha02.web.de", 3),
    Mailboxes("proton.me", "mail.protonmail.ch", 2),
)
# Companies with a mailbox domain of their own; the few at the top get most of the mail, as in life (Zipf).
BUSINESSES = tuple(
    Mailboxes(f"{name}.example", f"mx.{name}.example", 12 / rank)
    for rank, name in enumerate(
        ("northwind", "brightwater", "stonebridge", "maplewood", "silverlake", "redbarn", "oldmill", "hilltop"), start=1
    )
)


@dataclass(frozen=True)
class Sender:
    """A sending domain: its shares of its IP's mail and of its unknown users (relative), complaints per delivery."""

    domain: str
    share: float
    unknown_users: float = 1
    complaints: float = 0.00002


@dataclass(frozen=True)
class SendingIp:
    """A sending IP and what happens to its mail beyond the ordinary."""

    address: str
    share: float  # of all mail
    senders: tuple[Sender, ...]
    role: str = "good"
    reported_by: str = "demo-mta-1"


BAD_IP = "192.0.2.12"
NO_PTR_IP = "192.0.2.13"
THROTTLED_IP = "192.0.2.14"
WARMING_IP = "2001:db8::25"

CAST = (
    SendingIp(
        "192.0.2.10",
        0.25,
        (
            Sender("harbour-tea.example", 5),
            Sender("acorn-books.example", 4),
            # An old list, where most of the unknown users are.
            Sender("second-chance.example", 1, unknown_users=20),
        ),
    ),
    SendingIp("192.0.2.11", 0.16, (Sender("billing.example", 3), Sender("tickets.example", 2))),
    # From the middle of the day on Gmail refuses most of what it sends.
    SendingIp(
        BAD_IP,
        0.13,
        (Sender("spring-sale.example", 4, complaints=0.0012), Sender("win-big.example", 2)),
        role="goes bad",
    ),
    SendingIp(NO_PTR_IP, 0.26, (Sender("gazette.example", 3), Sender("choir.example", 1)), role="no PTR record"),
    SendingIp(THROTTLED_IP, 0.10, (Sender("garden-club.example", 1),), role="throttled", reported_by="demo-mta-2"),
    SendingIp(WARMING_IP, 0.10, (Sender("app.example", 3), Sender("alerts.example", 2)), reported_by="demo-mta-2"),
)
