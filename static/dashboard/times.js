// Writes times in the viewer's zone. The page comes in UTC, which stays in the title and for who prefers it.
(function () {
  "use strict";

  const KEY = "gs-times";
  const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
  // "12:34", "12:34:56", "21 Nov 12:34", "21 Nov 2026 12:34", each with or without " UTC". Other texts ("3 h ago") stay.
  const SHAPE = /^(\d{1,2} [A-Z][a-z]{2} (\d{4} )?)?\d\d:\d\d(:\d\d)?( UTC)?$/;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

  function isUtc() {
    const year = new Date().getUTCFullYear();
    return [0, 6].every(function (month) { return new Date(year, month, 1).getTimezoneOffset() === 0; });
  }

  function prefersUtc() {
    try {
      return window.localStorage.getItem(KEY) === "utc";
    } catch (error) {
      return false;
    }
  }

  function remember(utc) {
    try {
      window.localStorage.setItem(KEY, utc ? "utc" : "local");
    } catch (error) {
      // A browser that keeps nothing asks again on the next page.
    }
  }

  function two(value) { return String(value).padStart(2, "0"); }

  function clock(at, seconds) {
    return two(at.getHours()) + ":" + two(at.getMinutes()) + (seconds ? ":" + two(at.getSeconds()) : "");
  }

  function isToday(at) { return at.toDateString() === new Date().toDateString(); }

  function inZone(at, shape) {
    const hasDate = Boolean(shape[1]) || (Boolean(shape[4]) && !isToday(at));
    const date = hasDate ? at.getDate() + " " + MONTHS[at.getMonth()] + " " : "";
    return date + (shape[2] ? at.getFullYear() + " " : "") + clock(at, shape[3]);
  }

  function writeTime(element, utc) {
    const shown = element.dataset.gsUtc || element.textContent.trim();
    const shape = SHAPE.exec(shown);
    const at = new Date(element.dateTime);
    if (!shape || isNaN(at)) return;
    element.dataset.gsUtc = shown;
    if (!element.title) element.title = at.toISOString().slice(0, 19).replace("T", " ") + " UTC";
    element.textContent = utc ? shown : inZone(at, shape);
  }

  // The hint of a chart's bar begins with its hour.
  function writeHint(element, utc) {
    const shown = element.dataset.gsUtc || element.textContent;
    element.dataset.gsUtc = shown;
    const local = clock(new Date(element.dataset.gsAt), false);
    element.textContent = utc ? shown : shown.replace(/^\d\d:\d\d/, local);
  }

  function writeAll() {
    const utc = prefersUtc() || isUtc();
    for (const element of document.querySelectorAll(".gs time[datetime]")) writeTime(element, utc);
    for (const element of document.querySelectorAll(".gs [data-gs-at]")) writeHint(element, utc);
    for (const element of document.querySelectorAll("[data-gs-zone]")) {
      element.dataset.gsUtc = element.dataset.gsUtc || element.textContent;
      element.textContent = utc ? element.dataset.gsUtc : element.dataset.gsZone.replace("ZONE", zone);
    }
    const button = document.getElementById("gs-zone");
    if (!button) return;
    button.closest("[hidden]")?.removeAttribute("hidden");
    if (isUtc()) button.parentElement.hidden = true;
    button.textContent = utc ? "Show " + zone + " time" : "Show UTC";
  }

  writeAll();
  document.addEventListener("htmx:afterSwap", writeAll);
  document.getElementById("gs-zone")?.addEventListener("click", function () {
    remember(!prefersUtc());
    writeAll();
  });
})();
