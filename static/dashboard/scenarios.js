// Runs the scenarios one after the other, each line appearing as it is done. Without it the button asks for all at once.
(function () {
  "use strict";

  const form = document.getElementById("gs-run-all");
  if (!form) return;
  const button = form.querySelector("button");
  const bar = document.getElementById("gs-progress");
  const word = document.getElementById("gs-progress-word");

  function lines() { return Array.from(document.querySelectorAll("tr[id^='gs-scenario-']")); }

  function say(text, kind, shape) {
    word.replaceChildren();
    const told = word.appendChild(document.createElement("span"));
    told.className = "gs-status gs-" + kind;
    told.textContent = shape + " " + text;
  }

  function tell(run, total) {
    const passed = lines().filter(function (line) { return line.dataset.passed === "yes"; }).length;
    bar.hidden = false;
    bar.max = total;
    bar.value = run;
    if (run < total) say(run + " of " + total + " run, " + passed + " passed", "unknown", "◐");
    else if (passed === total) say("all " + total + " passed", "healthy", "●");
    else say(total - passed + " of " + total + " did not pass: do not trust any standing until this is understood", "blacklisted", "✖");
  }

  form.addEventListener("submit", async function (event) {
    // The file is the server's answer to the form itself.
    if (event.submitter && event.submitter.name === "format") return;
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    const all = lines();
    for (const line of all) delete line.dataset.passed;
    tell(0, all.length);
    for (const [index, line] of all.entries()) {
      const alone = line.querySelector("form");
      // A line that gets no answer counts as not passed.
      await window.htmx.ajax("POST", alone.getAttribute("action"), {
        source: alone, target: line, swap: "outerHTML",
      }).catch(function () {});
      tell(index + 1, all.length);
    }
    button.disabled = false;
    button.textContent = "Run again";
  });
})();
