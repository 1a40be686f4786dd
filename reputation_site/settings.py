"""All settings, in one file; every variable of the environment is read here and nowhere else.

Without any variable this is the embedded default: SQLite and a Valkey broker in one data folder. ``DATABASE_URL`` and
``REDIS_URL`` turn the same code into the production set-up.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.templatetags.static import static
from django.urls import reverse, reverse_lazy
from django.utils.safestring import mark_safe

from reputation_site.data_folder import kept_secret, socket_path
from reputation_site.env import ConfigurationError, Env, database_from_url, replica_from_url
from reputation_site.headers import POLICY
from reputation_site.schedule import BEAT_SCHEDULE
from reputation_site.version import VERSION
from telemetry import metric_files

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env(os.environ)

# --- where things are kept -------------------------------------------------------------------------------------
DATA_DIR = env.path("GS_DATA_DIR", BASE_DIR / "data")
DATABASE_URL = env.secret("DATABASE_URL", f"sqlite:///{DATA_DIR / 'good-standing.sqlite3'}")
BROKER_SOCKET = socket_path(DATA_DIR, "broker.sock")
REDIS_URL = env.secret("REDIS_URL", "")
EMBEDDED_BROKER = not REDIS_URL

# --- the web process -------------------------------------------------------------------------------------------
DEBUG = env.boolean("GS_DEBUG", False)
SECRET_KEY = env.secret("GS_SECRET_KEY", "") or kept_secret(DATA_DIR, "secret_key")
SECRET_KEY_FALLBACKS = [key for key in [env.secret("GS_SECRET_KEY_PREVIOUS", "")] if key]
LISTEN_HOST = env.text("GS_HOST", "127.0.0.1")
LISTEN_PORT = env.integer("GS_PORT", 8000, minimum=1, maximum=65535)
# Where Postfix asks (manage.py policyd); "off" for a service that is not wanted.
POLICYD_LISTEN = env.text("GS_POLICYD_LISTEN", "127.0.0.1:10031")
SOCKETMAP_LISTEN = env.text("GS_SOCKETMAP_LISTEN", "127.0.0.1:10032")
# Whether permits learn a recipient domain's mailbox provider by its MX record.
PERMIT_MX_LOOKUPS = env.boolean("GS_PERMIT_MX_LOOKUPS", True)
WEB_THREADS = env.integer("GS_WEB_THREADS", 8, minimum=1, maximum=256)
WEB_WORKERS = env.integer("GS_WEB_WORKERS", 1, minimum=1, maximum=64)
WORKER_CONCURRENCY = env.integer("GS_WORKER_CONCURRENCY", 2, minimum=1, maximum=64)
ALLOWED_HOSTS = env.words("GS_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.words("GS_CSRF_TRUSTED_ORIGINS", [])
HTTPS = env.boolean("GS_HTTPS", False)  # set behind a TLS proxy that sends X-Forwarded-Proto
# Proxies whose X-Forwarded-For is believed; without any, a request comes from whoever connected.
TRUSTED_PROXIES = env.networks("GS_TRUSTED_PROXIES")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = HTTPS
# Asked by load balancers and Prometheus on the machine's own port, past the proxy; they carry no cookie.
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
# With this prefix a browser takes them from this host alone, over TLS alone: no neighbour's page can plant one.
SESSION_COOKIE_NAME = "__Host-sessionid" if HTTPS else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if HTTPS else "csrftoken"
CSRF_FAILURE_VIEW = "reputation_site.doors.views.stale_form"  # Django's own page has an inline style
SESSION_COOKIE_AGE = env.integer("GS_SESSION_HOURS", 72, minimum=1, maximum=24 * 365) * 3600  # after the last request
# Whether other hosts below ours speak TLS, and whether browsers ship our name, is not ours to decide.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {"DIRECTIVES": POLICY}

# --- who comes in (reputation_site.doors) -----------------------------------------------------------------------
AXES_FAILURE_LIMIT = env.integer("GS_LOGIN_FAILURES", 5, minimum=1, maximum=1000)
AXES_COOLOFF_TIME = timedelta(minutes=env.integer("GS_LOGIN_LOCKOUT", 15, minimum=1, maximum=7 * 24 * 60))
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # the page says when it ends, and then it ends
AXES_USERNAME_CALLABLE = "reputation_site.doors.lockout.name_tried"
AXES_CLIENT_IP_CALLABLE = "reputation_site.doors.lockout.address_tried"
AXES_WHITELIST_CALLABLE = "reputation_site.doors.lockout.is_no_guess"
AXES_LOCKOUT_CALLABLE = "reputation_site.doors.lockout.locked_out"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "csrfmiddlewaretoken"]
AXES_DISABLE_ACCESS_LOG = True  # telemetry's access log has logins, and tokens too
AXES_ENABLE_ADMIN = False  # reputation_site.admin has it in our look
AXES_VERBOSE = False
REQUIRE_SECOND_FACTOR = env.boolean("GS_REQUIRE_SECOND_FACTOR", False)
# A header in which a trusted proxy names the person, such as X-Remote-User; empty: none is believed.
REMOTE_USER_META = env.header("GS_REMOTE_USER_HEADER")
SSO_CREATE_USERS = env.boolean("GS_SSO_CREATE_USERS", False)
OIDC_ISSUER = env.text("GS_OIDC_ISSUER", "").rstrip("/")
OIDC_NAME = env.text("GS_OIDC_NAME", "single sign-on")
OIDC_CLIENT_ID = env.text("GS_OIDC_CLIENT_ID", "")
OIDC_CLIENT_SECRET = env.secret("GS_OIDC_CLIENT_SECRET", "")
OIDC_ALGORITHM = env.choice("GS_OIDC_ALGORITHM", "RS256", ("RS256", "RS384", "RS512", "ES256", "ES384"))
OIDC_SCOPES = env.text("GS_OIDC_SCOPES", "openid profile email")
OIDC_USERNAME_CLAIM = env.text("GS_OIDC_USERNAME_CLAIM", "preferred_username")
OIDC_GROUPS_CLAIM = env.text("GS_OIDC_GROUPS_CLAIM", "groups")
OIDC_ROLES = env.pairs("GS_OIDC_ROLES", allowed=("viewer", "operator", "admin"))
if OIDC_ISSUER and not (OIDC_CLIENT_ID and OIDC_CLIENT_SECRET):
    raise ConfigurationError("GS_OIDC_ISSUER needs GS_OIDC_CLIENT_ID and GS_OIDC_CLIENT_SECRET.")
if REMOTE_USER_META and not TRUSTED_PROXIES:
    raise ConfigurationError("GS_REMOTE_USER_HEADER needs GS_TRUSTED_PROXIES: anybody could send that header.")
AUTHENTICATION_BACKENDS = [
    "reputation_site.doors.lockout.LockoutBackend",
    "django.contrib.auth.backends.ModelBackend",
    *(["reputation_site.doors.remote_user.Backend"] if REMOTE_USER_META else []),
    *(["reputation_site.doors.oidc.Backend"] if OIDC_ISSUER else []),
]

# --- the product -----------------------------------------------------------------------------------------------
MAX_BODY_BYTES = env.integer("GS_MAX_BODY_BYTES", 5 * 1024 * 1024, minimum=1024, maximum=256 * 1024 * 1024)
MAX_EVENTS_PER_REQUEST = env.integer("GS_MAX_EVENTS_PER_REQUEST", 20_000, minimum=1, maximum=1_000_000)
# How much a source may send a minute unless it says otherwise itself; 0: as much as it likes.
SOURCE_REQUESTS_PER_MINUTE = env.integer("GS_SOURCE_REQUESTS_PER_MINUTE", 0, minimum=0, maximum=10_000_000)
SOURCE_EVENTS_PER_MINUTE = env.integer("GS_SOURCE_EVENTS_PER_MINUTE", 0, minimum=0, maximum=10_000_000)
# What waits to be recorded in one web process; past either it answers 503. A sender that waited too long is told so.
INGEST_MOST_WAITING = env.integer("GS_INGEST_MOST_WAITING", 10_000, minimum=1, maximum=1_000_000)
INGEST_MOST_WAITING_BYTES = env.integer(
    "GS_INGEST_MOST_WAITING_BYTES", 64 * 1024 * 1024, minimum=1024 * 1024, maximum=16 * 1024 * 1024 * 1024
)
INGEST_PATIENCE = timedelta(seconds=env.integer("GS_INGEST_PATIENCE", 20, minimum=1, maximum=600))
RECIPIENTS_OF_FAILURES = env.choice("GS_RECIPIENTS_OF_FAILURES", "full", ("full", "hashed", "domain"))
RECIPIENTS_OF_DELIVERIES = env.choice("GS_RECIPIENTS_OF_DELIVERIES", "domain", ("full", "hashed", "domain"))
SELF_TEST_API = env.boolean("GS_SELF_TEST_API", True)  # the scenarios over HTTP; they always need an admin
ALLOW_PRIVATE_URLS = env.boolean("GS_ALLOW_PRIVATE_URLS", False)  # addresses typed in may lie in private networks
# Mail servers that alerts may be handed to although they lie in a private network, such as localhost.
ALERT_SMTP_HOSTS = env.words("GS_ALERT_SMTP_HOSTS", [])
PUBLIC_URL = env.text("GS_PUBLIC_URL", "").rstrip("/")  # where people reach this console; links in alerts begin so
# DNS servers for blocklists and audits as (address, port), none: the system's; what one question may take, and how many
# sockets may be open: over all workers together, and as many again in each web process for checks on demand.
DNS_SERVERS = env.servers("GS_DNS_SERVERS", port=53)
DNS_TIMEOUT = timedelta(seconds=env.integer("GS_DNS_TIMEOUT", 3, minimum=1, maximum=60))
DNS_MOST_SOCKETS = env.integer("GS_DNS_MOST_SOCKETS", 64, minimum=4, maximum=4096)
# Whether audits may ask the MX hosts of sending domains on port 25 (TLS certificate, postmaster@, abuse@).
AUDIT_SMTP_PROBE = env.boolean("GS_AUDIT_SMTP_PROBE", False)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# --- databases -------------------------------------------------------------------------------------------------
DATABASES: dict[str, dict[str, Any]] = {
    "default": database_from_url(
        DATABASE_URL,
        sqlite_options={
            "OPTIONS": {
                # A writer takes its lock at BEGIN, so that no transaction fails half way at its first write.
                "transaction_mode": "IMMEDIATE",
                "timeout": env.integer("GS_SQLITE_TIMEOUT", 20, minimum=1, maximum=600),
                # FULL: what we acknowledge survives a power cut. 32 MB of cache, 128 MB mapped.
                "init_command": (
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-32000; "
                    "PRAGMA mmap_size=134217728; PRAGMA temp_store=MEMORY;"
                ),
            },
        },
        postgres_options={
            "CONN_MAX_AGE": env.integer("GS_DB_CONN_MAX_AGE", 600, minimum=0, maximum=86400),
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": {
                "connect_timeout": 5,
                "application_name": "good-standing",
                # The few statements of telemetry/sql are prepared at once: planning costs more than running them.
                "prepare_threshold": 0,
            },
        },
    )
}
# Pages may be read from a replica that is at most this far behind (reputation_site.replica says which reads).
REPLICA_URL = env.secret("GS_REPLICA_URL", "")
REPLICA_MAX_LAG = timedelta(seconds=env.integer("GS_REPLICA_MAX_LAG", 5, minimum=1, maximum=300))
if REPLICA_URL:
    DATABASES["replica"] = replica_from_url(REPLICA_URL, DATABASES["default"])
DATABASE_ROUTERS = ["reputation_site.replica.Router"] if REPLICA_URL else []
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Django ----------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_prometheus",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "telemetry",
    "reputation",
    "dashboard",
    "reputation_site",
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "reputation_site.headers.Headers",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "reputation_site.doors.sessions.Sliding",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    *(["reputation_site.doors.remote_user.Middleware"] if REMOTE_USER_META else []),
    "django_otp.middleware.OTPMiddleware",
    "reputation_site.doors.gate.Gate",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "reputation_site.web_metrics.After",
    *(["reputation_site.replica.Middleware"] if REPLICA_URL else []),
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "reputation_site.urls"
WSGI_APPLICATION = "reputation_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("dashboard:overview")
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_THOUSAND_SEPARATOR = False
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True  # no collectstatic step is needed for `make run`
PROMETHEUS_EXPORT_MIGRATIONS = False

# --- metrics ---------------------------------------------------------------------------------------------------
# Where the processes of this machine count together; counters begin anew with a new version.
METRICS_DIR = env.path("GS_METRICS_DIR", DATA_DIR / "metrics")
metric_files.share(METRICS_DIR / VERSION)
# Who may read /metrics: with a token whoever sends it; without one this machine and these networks.
METRICS_TOKEN = env.secret("GS_METRICS_TOKEN", "")
METRICS_NETWORKS = env.networks("GS_METRICS_NETWORKS")
METRICS_HELD = timedelta(seconds=env.integer("GS_METRICS_HELD", 5, minimum=0, maximum=300))
METRICS_MOST_IPS = env.integer("GS_METRICS_MOST_IPS", 1_000, minimum=0, maximum=100_000)
METRICS_MOST_DOMAINS = env.integer("GS_METRICS_MOST_DOMAINS", 100, minimum=0, maximum=100_000)

# --- Celery ----------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL or f"redis+socket://{BROKER_SOCKET}"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # Celery would give up after an hour without its broker, and end
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 60}
CELERY_TASK_IGNORE_RESULT = True  # what a task did is in the database, not in a result
CELERY_TASK_ACKS_LATE = True  # every task is an idempotent tick: running one twice does no harm
CELERY_TASK_TIME_LIMIT = 600
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CONCURRENCY = WORKER_CONCURRENCY
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = BEAT_SCHEDULE
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "beat-schedule")
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
CELERY_BEAT_SCHEDULER = "reputation_site.beat:Scheduler"  # goes on when the clock was set back

# What an API token of the scope "operate" may: the acts of the group operator.
OPERATOR_ACTS = "reputation_site.groups.ACTS"

# --- REST framework --------------------------------------------------------------------------------------------
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "telemetry.authentication.ApiTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["telemetry.permissions.StaffReadsOperatorsWrite"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "telemetry.pagination.Pages",
    "PAGE_SIZE": 50,
    "DEFAULT_SCHEMA_CLASS": "telemetry.api.openapi.Description",
    "EXCEPTION_HANDLER": "telemetry.errors.answer",
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Good Standing",
    "DESCRIPTION": "Sender reputation you can see and act on: report outcomes, read standing, act.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "telemetry.api.openapi.complete",
    ],
}

# --- logs ------------------------------------------------------------------------------------------------------
LOG_FORMAT = env.choice("GS_LOG_FORMAT", "text", ("text", "json"))
LOG_LEVEL = env.choice("GS_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "reputation_site.logs.TextFormatter"},
        "json": {"()": "reputation_site.logs.JsonFormatter"},
    },
    "filters": {"context": {"()": "telemetry.log_context.Context"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["context"]}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django.server": {"handlers": ["console"], "level": LOG_LEVEL, "propagate": False},
        # What a channel answered is kept with its delivery; the library's own lines may hold its address.
        "apprise": {"level": "CRITICAL", "propagate": False},
        # Failed logins are in the access log, and a lock is said by reputation_site.doors.records.
        "axes": {"level": "ERROR"},
        # A tick every three seconds is no news; a task that fails is logged as an error all the same.
        **{
            name: {"level": "WARNING" if LOG_LEVEL == "INFO" else LOG_LEVEL}
            for name in ("celery.beat", "celery.worker.strategy", "celery.app.trace")
        },
    },
}

# --- admin's look ----------------------------------------------------------------------------------------------
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Good Standing",
    "SITE_HEADER": "Good Standing",
    "SITE_URL": reverse_lazy("dashboard:overview"),
    "SITE_SYMBOL": "verified",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    # The console's script writes times in the viewer's zone, and this word with them; the admin stays with UTC.
    "SITE_SUBHEADER": mark_safe('<span data-gs-zone="Times are in ZONE">All times are UTC</span>'),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("dashboard/icon.svg")}],
    "COLORS": lambda request: {},  # they are a file: an inline style element would need a hole in the policy
    "STYLES": [lambda request: reverse("frame-colours"), lambda request: static("dashboard/frame.css")],
    "SCRIPTS": [lambda request: static("dashboard/expressions.js"), lambda request: static("dashboard/frame.js")],
    "SIDEBAR": {"navigation": "reputation_site.navigation.navigation"},
}
# Dates as 2026-11-20 12:00:05, which every operator reads the same way.
FORMAT_MODULE_PATH = ["reputation_site.formats"]

env.refuse_unknown()
