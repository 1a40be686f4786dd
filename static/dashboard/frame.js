// On every page, console and admin alike: the frame's own toggles work by keyboard, and "/" leads to the search box.
(function () {
  "use strict";

  const NAMES = { dock_to_right: "Show or hide the menu", close: "Close the menu" };

  // It would add a style element and make functions of text; the Content-Security-Policy allows neither.
  if (window.htmx) Object.assign(window.htmx.config, { includeIndicatorStyles: false, allowEval: false });

  function isTyping(element) {
    return element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);
  }

  // The frame listens to clicks on spans and divs; a keyboard and a screen reader need a button.
  function makeButton(element) {
    if (element.matches("a[href], button, input, summary, label") || element.closest("[data-gs-toggle]")) return;
    element.setAttribute("data-gs-toggle", "");
    element.setAttribute("role", "button");
    element.tabIndex = 0;
    const name = NAMES[element.textContent.trim()];
    if (name) element.setAttribute("aria-label", name);
    element.addEventListener("keydown", function (event) {
      if (event.target !== element || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      element.click();
    });
  }

  document.addEventListener("DOMContentLoaded", function () {
    const frame = "#nav-sidebar [x-on\\:click], #header-inner [x-on\\:click]";
    for (const element of document.querySelectorAll(frame)) makeButton(element);
    if (!document.querySelector("main")) document.getElementById("content")?.setAttribute("role", "main");
  });

  document.addEventListener("keydown", function (event) {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    // In a list of the admin the key leads to the search of that list.
    const box = document.getElementById("gs-search");
    if (!box || box.offsetParent === null || document.getElementById("searchbar")) return;
    event.preventDefault();
    box.focus();
    box.select();
  });
})();
