"""What the Dockerfile makes, made without a container engine: its COPY lines into a folder, its packages, its commands.

Paths of the image (/app, /data, /run/secrets, /opt/venv) stand for folders below one temporary folder.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from reputation_site.leash import leashed

ROOT = Path(__file__).resolve().parents[2]
USER = 10001  # the user of the image


@dataclass
class Instruction:
    """One instruction of a Dockerfile."""

    word: str
    rest: str


def dockerfile(text: str) -> list[Instruction]:
    """The instructions in order; comments and continued lines as Docker reads them."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            found.append(Instruction(word.upper(), " ".join(rest.split())))
    return found


def sent_to_the_engine(files: list[str], ignore: str) -> list[str]:
    """The files that .dockerignore leaves in: the last pattern that says anything about a file or its folders wins."""
    patterns = [line.strip() for line in ignore.splitlines() if line.strip() and not line.startswith("#")]
    left = []
    for name in files:
        ignored = False
        parents = ["/".join(name.split("/")[:count]) for count in range(1, name.count("/") + 2)]
        for pattern in patterns:
            wanted = pattern.removeprefix("!")
            if any(_matches(part, wanted) for part in parents):
                ignored = not pattern.startswith("!")
        if not ignored:
            left.append(name)
    return left


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return _matches(name.rpartition("/")[2], pattern.removeprefix("**/"))
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def files_of_the_checkout() -> list[str]:
    """Everything git knows or would take in, and what a careless checkout also holds."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    return [name for name in listed.stdout.decode().splitlines() if (ROOT / name).is_file()]


@dataclass
class Image:
    """The final stage, in a folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    not_replayed: list[str] = field(default_factory=list)
    user: str = ""

    @property
    def app(self) -> Path:
        """The image's /app."""
        return self.folder / "app"

    def inside(self, text: str) -> str:
        """The same text with the image's absolute paths as they are here."""
        return re.sub(r"(?<![\w.-])(/app|/data|/metrics|/opt/venv|/run/secrets)(?=[/:]|$)", rf"{self.folder}\1", text)


def build(folder: Path) -> Image:
    """Replay the Dockerfile. What only an engine can do is listed in `not_replayed`."""
    image = Image(folder)
    instructions = dockerfile((ROOT / "Dockerfile").read_text())
    context = sent_to_the_engine(files_of_the_checkout(), (ROOT / ".dockerignore").read_text())
    last = max(at for at, one in enumerate(instructions) if one.word == "FROM")
    workdir = "/"
    for at, one in enumerate(instructions):
        if one.word == "WORKDIR":
            workdir = one.rest
        elif one.word == "COPY" and at > last and not one.rest.startswith("--from"):
            _copy(shlex.split(one.rest), folder / workdir.lstrip("/"), context)
        elif one.word == "RUN" and one.rest == "python -m venv --without-pip /opt/venv":
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "opt/venv"], check=True)
        elif one.word == "RUN" and "--require-hashes -r requirements.lock" in one.rest:
            assert "requirements.lock" in context
            _link_locked_packages(folder / "opt/venv")
        elif one.word == "RUN" and "compileall" in one.rest:
            subprocess.run(["sh", "-c", image.inside(one.rest)], cwd=image.app, check=True)
        elif one.word == "RUN":
            image.not_replayed.append(one.rest)
        elif one.word == "ENV" and at > last:
            for pair in shlex.split(one.rest):
                name, _, value = pair.partition("=")
                image.environment[name] = value.replace("${PATH}", os.environ["PATH"])
        elif one.word == "CMD":
            image.command = json.loads(one.rest)
        elif one.word == "HEALTHCHECK":
            image.health = json.loads(one.rest[one.rest.index("CMD ") + 4 :])
        elif one.word == "USER":
            image.user = one.rest
    image.environment = {name: image.inside(value) for name, value in image.environment.items()}
    return image


def _copy(words: list[str], workdir: Path, context: list[str]) -> None:
    *sources, target = words
    for source in sources:
        found = [name for name in context if name == source or name.startswith(f"{source}/")]
        assert found, f"COPY {source}: the engine is sent no such file"
        for name in found:
            # A folder's contents go into the target, a file below it.
            inner = name.removeprefix(f"{source}/") if name != source else name
            place = workdir / target / inner
            # As if the checkout were closed to everybody else.
            for parent in reversed(place.relative_to(workdir).parents):
                (workdir / parent).mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copyfile(ROOT / name, place)
            place.chmod(0o600)


def _link_locked_packages(venv: Path) -> None:
    """The packages of requirements.lock, and no other that the developers have installed."""
    [site] = venv.glob("lib/python*/site-packages")
    for name, marker in re.findall(
        r"^([\w.-]+)==\S+( ;[^\\]*)?", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    ):
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            assert marker, f"{name} is locked and not installed here"
            continue
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            place = site / top
            if not place.exists():
                place.symlink_to(Path(str(distribution.locate_file(top))))


class Running:
    """One process of the image, as its user where we may become that user."""

    def __init__(self, image: Image, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.command = command
        self.environment = environment
        self.image = image
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                # Whatever happens to the tests, it goes with them.
                [*as_its_user(), *leashed(command, signal.SIGKILL)],
                cwd=image.app,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it wrote."""
        return self.log.read_text(errors="replace")

    def stop(self, within: float) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def clean_up(self) -> None:
        """End it and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


def as_its_user() -> list[str]:
    """Words before a command that make it the image's user: it writes to its data folder alone.

    It may read everything, because the Python of these tests may lie in somebody's home.
    """
    if os.geteuid() != 0:
        return []
    reads = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *reads, "--no-new-privs"]


def give(folder: Path) -> Path:
    """Make a folder that is the image's user's own."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, USER, USER)
    return folder


def run(command: list[str], image: Image, environment: dict[str, str], within: float = 120) -> tuple[int, str]:
    """A command in the image, to its end; exit code and what it wrote."""
    done = subprocess.run(
        [*as_its_user(), *command],
        cwd=image.app,
        env=environment,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
