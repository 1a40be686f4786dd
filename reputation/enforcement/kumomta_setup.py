"""What to paste at a KumoMTA so that it does what it is told."""

from __future__ import annotations

from telemetry.kumomta import TOKEN_FILE

PATH = "/api/enforcement/kumomta/shaping.toml"
SHAPING_FILE = "/opt/kumomta/etc/policy/good-standing.toml"

LISTENER = """\
kumo.start_http_listener {
  listen = '0.0.0.0:8000',
  -- The address that Good Standing calls from; without it, give it a login there.
  trusted_hosts = { '127.0.0.1', '::1', '192.0.2.1' },
}
"""

# As a file and not as an address: KumoMTA drops what it cannot load, and writes addresses into its log.
SHAPER = f"""\
local shaper = shaping:setup_with_automation {{
  -- Keep what stands here, and add the last line.
  publish = {{ 'http://127.0.0.1:8008' }},
  subscribe = {{ 'http://127.0.0.1:8008' }},
  extra_files = {{ '{SHAPING_FILE}' }},
}}
"""


def fetch(base_url: str) -> str:
    """A line for cron that keeps the shaping file fresh; while we are away the last one stays."""
    return (
        f'* * * * * curl -sSf -m 20 -H "Authorization: Bearer $(head -n 1 {TOKEN_FILE})" \\\n'
        f"  -o {SHAPING_FILE}.new {base_url.rstrip('/')}{PATH} && mv {SHAPING_FILE}.new {SHAPING_FILE}"
    )
