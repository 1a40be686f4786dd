// Says so when a part of the page could not be fetched anew, and keeps opened tables open when it could.
(function () {
  "use strict";

  function lost(isLost) {
    const note = document.getElementById("gs-lost");
    if (note) note.hidden = !isLost;
  }

  const opened = new Set();

  // Somebody marks text to copy it: a new part would take the mark away, so it waits for the next time.
  function isMarkedIn(target) {
    const marked = window.getSelection();
    return Boolean(marked) && !marked.isCollapsed && target.contains(marked.anchorNode);
  }

  document.addEventListener("htmx:beforeSwap", function (event) {
    if (event.detail.shouldSwap && isMarkedIn(event.detail.target)) event.detail.shouldSwap = false;
    for (const details of event.detail.target.querySelectorAll("details[id]")) {
      if (details.open) opened.add(details.id);
      else opened.delete(details.id);
    }
  });
  document.addEventListener("htmx:afterSwap", function (event) {
    lost(false);
    for (const details of event.detail.target.querySelectorAll("details[id]")) {
      details.open = opened.has(details.id);
    }
    // The first mail has arrived: the page now has a chart to show.
    if (event.detail.target.id === "gs-fleet" && !document.getElementById("gs-day")) {
      if (event.detail.target.querySelector(".gs-counts")) window.location.reload();
    }
  });
  // The parts of a page that live fetch themselves anew while somebody looks and the box is ticked.
  function refresh(part) {
    const box = document.getElementById("gs-live");
    if (!document.hidden && (!box || box.checked)) window.htmx.trigger(part, "gs:refresh");
  }

  document.addEventListener("DOMContentLoaded", function () {
    for (const part of document.querySelectorAll("[data-gs-every]")) {
      setInterval(refresh, Number(part.dataset.gsEvery) * 1000, part);
    }
  });
  document.addEventListener("htmx:sendError", function () { lost(true); });
  document.addEventListener("htmx:responseError", function () { lost(true); });
})();
