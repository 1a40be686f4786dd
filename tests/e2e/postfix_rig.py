"""A private Postfix in a folder of its own: one transport per sending IP, everything relayed to one loopback port.

Debian's programs, our configuration, no chroot, no port below 1024. Postfix's master must run as root.
"""

from __future__ import annotations

import os
import shutil
import smtplib
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.servers import free_port
from tests.site.served import until

SBIN = "/usr/sbin"
MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {log}
maillog_file_prefixes = {folder}
maillog_file_compressor = /bin/true
myhostname = mta.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination = local.test
alias_maps =
local_recipient_maps =
mailbox_command = /bin/true
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_tls_security_level = none
smtp_host_lookup = native
smtputf8_enable = no
sender_dependent_default_transport_maps = texthash:{folder}/transport_by_sender
default_transport = error:no route
enable_long_queue_ids = {long_queue_ids}
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 1s
maximal_queue_lifetime = 1d
"""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def why_not() -> str:
    """Why no Postfix can run here; empty when it can."""
    if not Path(SBIN, "postfix").exists():
        return "Postfix is not installed: run .ci/system-packages as root"
    return "" if os.geteuid() == 0 else "Postfix's master runs only as root"


class PostfixRig:
    """``with PostfixRig(port, {"@good.example": ("postfix-ip-a", "127.0.0.11")}) as postfix:``."""

    def __init__(
        self,
        receiver_port: int,
        transports: Mapping[str, tuple[str, str]],
        *,
        long_queue_ids: bool = True,
    ) -> None:
        """`transports`: sender → (syslog name, address to send from)."""
        self.folder = Path(tempfile.mkdtemp(prefix="gs-postfix-"))
        self.folder.chmod(0o755)  # Postfix's own user must get through
        self.port = free_port()
        self.log = self.folder / "mail.log"
        self._config = self.folder / "config"
        self._master: subprocess.Popen[bytes] | None = None
        self._configure(receiver_port, transports, long_queue_ids)

    def _configure(self, receiver_port: int, transports: Mapping[str, tuple[str, str]], long_queue_ids: bool) -> None:
        for name in ("config", "queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        values = {"folder": self.folder, "log": self.log, "long_queue_ids": "yes" if long_queue_ids else "no"}
        (self._config / "main.cf").write_text(MAIN.format(**values))
        master, by_sender = MASTER.format(port=self.port), ""
        for number, (sender, (syslog_name, address)) in enumerate(transports.items()):
            master += f"out{number} unix - - n - 20 smtp -o syslog_name={syslog_name} -o smtp_bind_address={address}\n"
            by_sender += f"{sender} out{number}:[127.0.0.1]:{receiver_port}\n"
        (self._config / "master.cf").write_text(master)
        (self.folder / "transport_by_sender").write_text(by_sender)

    def set(self, **main: str) -> None:
        """Change parameters of main.cf before the start."""
        with (self._config / "main.cf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in main.items())

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        words = [f"{SBIN}/{command[0]}", "-c", str(self._config), *command[1:]]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    def __enter__(self) -> PostfixRig:
        self._master = subprocess.Popen(
            [f"{SBIN}/postfix", "-c", str(self._config), "start-fg"],
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "output").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def answers() -> bool:
            assert self._master is not None
            assert self._master.poll() is None, (self.folder / "output").read_text()
            try:
                smtplib.SMTP("127.0.0.1", self.port, timeout=5).quit()
            except OSError:
                return False
            return True

        until(answers, within=30, what="Postfix's greeting")
        return self

    def stop(self) -> None:
        """Let deliveries under way end, and write nothing more."""
        assert self._master is not None
        self._run("postfix", "stop")
        try:
            self._master.wait(20)
        except subprocess.TimeoutExpired:
            self._master.kill()
            self._master.wait(10)

    def __exit__(self, *_: Any) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, sender: str, recipients: Sequence[str]) -> None:
        """Hand in one message per recipient, over one connection."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as session:
            for recipient in recipients:
                session.sendmail(sender, [recipient], f"From: <{sender}>\nSubject: test\n\nHello.\n")

    def waiting(self) -> int:
        """How many messages are still in the queue, in whatever part of it."""
        parts = ("maildrop", "incoming", "active", "deferred", "hold")
        return sum(1 for part in parts for entry in (self.folder / "queue" / part).rglob("*") if entry.is_file())

    def rotate_log(self) -> None:
        """Have Postfix rename its log and begin another (takes a second)."""
        self._run("postfix", "logrotate")

    def logs(self) -> list[Path]:
        """The log and its older files."""
        return sorted(self.folder.glob("mail.log*"))
