"""The set-up of a KumoMTA that reports here."""

from __future__ import annotations

from urllib.parse import urlsplit

PATH = "/api/webhooks/kumomta"
TOKEN_FILE = "/opt/kumomta/etc/policy/good-standing.token"  # noqa: S105 - a file's name

# log_hooks:new and not new_json: the latter sends no header of ours, and gives up a record at any answer but 2xx.
# A template without braces of its own syntax, because Lua is full of them.
_LUA = """\
-- Good Standing: reports what became of every message.
local good_standing_hooks = require 'policy-extras.log_hooks'

good_standing_hooks:new {
  name = 'good-standing',
  batch_size = 100,
  log_parameters = {
    per_record = {
      -- These say nothing about delivery; not sending them saves work on both sides.
      Reception = { enable = false },
      Rejection = { enable = false },
    },
  },
  queue_config = {
    retry_interval = '1m',
    max_retry_interval = '20m',
    max_age = '7d',
  },
  constructor = function(domain, tenant, campaign)
    local connection = {}
    local client = kumo.http.build_client {}
    local token = kumo.secrets.load('@TOKEN_FILE@'):match '^%S+'

    function connection:send_batch(messages)
      local records = {}
      for _, message in ipairs(messages) do
        table.insert(records, message:get_data())
      end
      local response = client
        :post('@URL@')
        :header('Content-Type', 'application/json')
        :header('Authorization', 'Bearer ' .. token)
        :body('[' .. table.concat(records, ',') .. ']')
        :send()
      local status = response:status_code()
      local disposition = string.format('%d %s', status, response:status_reason())
      if response:status_is_success() then
        return disposition
      end
      -- 400 can never be read: give it up. Everything else (a token that was revoked, a database that is away) can be
      -- mended, so the records wait in this queue and are tried again.
      if status == 400 then
        kumo.reject(550, disposition)
      end
      kumo.reject(451, disposition)
    end

    function connection:close()
      client:close()
    end

    return connection
  end,
}
"""


def log_hook(base_url: str) -> str:
    """The Lua of a log hook that posts to this installation. Raises ValueError for what is no http(s) address."""
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of the port too
        usable = False
    if not usable or not all(letter.isprintable() and letter not in "'\\ \"" for letter in base_url):
        raise ValueError(f"{base_url!r} is not an address such as https://standing.example.com.")
    address = base_url.rstrip("/")
    return _LUA.replace("@URL@", address + ("" if address.endswith(PATH) else PATH)).replace("@TOKEN_FILE@", TOKEN_FILE)
