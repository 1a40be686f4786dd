"""Take the pictures that README and docs show: `make screenshots`. Plays a demo of its own, asks no other host."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.site.served import ROOT, Served, until

IMAGES = ROOT / "docs/images"
# File, path, width, height, dark.
PICTURES = (
    ("overview.png", "/", 1360, 790, False),
    ("ip.png", "/ips/192.0.2.12/", 1240, 1120, False),
    ("providers.png", "/providers/", 1240, 640, False),
    ("phone-dark.png", "/", 390, 844, True),
)
MOST_BYTES = 250_000
SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    " --disable-sync --disable-dev-shm-usage --hide-scrollbars"
)


def browser(profile: Path) -> Chrome:
    """Debian's Chromium with a profile of its own."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for switch in [*SWITCHES.split(), f"--user-data-dir={profile}"]:
        options.add_argument(switch)
    return Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def take(driver: Chrome, url: str, folder: Path) -> None:
    """Write every picture."""
    for name, path, width, height, dark in PICTURES:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(url + path)
        time.sleep(2)  # charts draw themselves, and there is nothing to wait for that tells when they are done
        target = folder / name
        driver.save_screenshot(str(target))
        written = target.stat().st_size
        print(f"{name}: {written:,} bytes")
        if written > MOST_BYTES:
            sys.exit(f"{name} is larger than {MOST_BYTES:,} bytes: choose a smaller window.")


def main() -> None:
    """Serve a demo, log in, take the pictures, stop."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gs-pictures-") as folder:
        served = Served(Path(folder) / "data", arguments=("demo",))
        try:
            until(lambda: "From now on mail goes on" in served.output, within=300, what="the demo's day")
            password = re.search(r"Password\W+(\S+)", served.output)
            if password is None:
                sys.exit("The demo printed no password.")
            time.sleep(90)  # the first minutes of live mail, lookups and scores
            url = f"http://127.0.0.1:{served.port}"
            with browser(Path(folder) / "profile") as driver:
                driver.get(f"{url}/admin/login/")
                driver.find_element(By.NAME, "username").send_keys("admin")
                driver.find_element(By.NAME, "password").send_keys(password[1])
                driver.find_element(By.CSS_SELECTOR, "form [type=submit]").click()
                take(driver, url, IMAGES)
            served.stop()
        finally:
            served.clean_up()


if __name__ == "__main__":
    main()
