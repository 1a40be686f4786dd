"""What the access log tells of: logins, tokens, and who was kept out."""

# ruff: noqa: S105 - kinds of events, no passwords
from enum import StrEnum


class AccessKind(StrEnum):
    """What happened at a door."""

    LOGIN = "login"
    LOGIN_FAILED = "login_failed"
    LOGOUT = "logout"
    LOCKED_OUT = "locked_out"
    """Too many failed logins: the next ones are refused unread."""
    SECOND_FACTOR_ADDED = "second_factor_added"
    SECOND_FACTOR_REMOVED = "second_factor_removed"
    SECOND_FACTOR_FAILED = "second_factor_failed"
    PASSWORD_CHANGED = "password_changed"
    TOKEN_ISSUED = "token_issued"
    TOKEN_ROTATED = "token_rotated"
    TOKEN_REVOKED = "token_revoked"
    TOKEN_USED = "token_used"
    """A token came from an address it had not come from that day."""
    REFUSED_BY_SCOPE = "refused_by_scope"
    """An API token whose scope does not go so far."""
    REFUSED_BY_ADDRESS = "refused_by_address"
    """A source's report from outside its allowed networks; once per address and day."""
    SOURCE_ADDED = "source_added"
    SOURCE_CHANGED = "source_changed"
    SOURCE_DELETED = "source_deleted"
    SETTING_CHANGED = "setting_changed"
    """Something an operator decides that keeps no history of its own."""
    USER_CHANGED = "user_changed"

    @property
    def words(self) -> str:
        """In words, such as "token issued"."""
        return self.value.replace("_", " ")
