// What a browser adds to pages that work without it: it says when they are stale, keeps the focus where it was, draws
// the plot. No data is changed from here.
"use strict";

(() => {
  const LATE = 3; // renewals that did not come
  // Asked each time: what has ended brings itself up to date no more.
  const live = () => [...document.querySelectorAll("[data-live]")];
  const banner = document.getElementById("stale");
  let goodAt = Date.now();
  let why = "";

  const utc = (ms) => new Date(ms).toISOString().slice(11, 19) + " UTC";

  function tell() {
    const parts = live();
    const lateAfterS = LATE * Math.min(...parts.map((part) => Number(part.dataset.live)));
    const isStale = parts.length > 0 && (why !== "" || Date.now() - goodAt > lateAfterS * 1000);
    const text = isStale ? `${why || "This page could not bring itself up to date."} What you see is from ${utc(goodAt)}.` : "";
    // Written only when it changes: a screen reader reads it out each time.
    if (banner.textContent !== text) banner.textContent = text;
    banner.hidden = !isStale;
  }

  function failed(status) {
    if (status === 401) why = "Your login has ended. Reload the page to log in again.";
    else if (status === 503) why = "The database does not answer.";
    else if (status === 504) why = "The database is slow: this page took too long.";
    else if (status) why = `The page failed (${status}).`;
    else why = "outbox does not answer: it was stopped, or the network is gone.";
    tell();
  }

  function succeeded() {
    why = "";
    goodAt = Date.now();
    tell();
  }

  // A click on another part's link would look the same: only parts that refresh themselves count.
  const ifLive = (handle) => (event) => {
    if (event.detail.elt.hasAttribute("data-live")) handle(event.detail, event);
  };
  document.addEventListener("htmx:sendError", ifLive(() => failed(0)));
  document.addEventListener("htmx:timeout", ifLive(() => failed(0)));
  document.addEventListener("htmx:responseError", ifLive((detail) => failed(detail.xhr.status)));
  setInterval(tell, 1000);

  // --- a refresh must not take away what somebody is at ---

  const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";
  let renewed = null;
  let focused = null;
  let open = [];

  // What it is, for whoever uses it: never another button that stands in the same place now.
  const nameOf = (part) => part.id !== "" ? `#${part.id}` : [
    part.tagName, part.getAttribute("href"), part.form && part.form.getAttribute("action"), part.getAttribute("aria-label"),
    part.matches("button, summary") ? part.textContent.trim() : "",
  ].join(" ");
  const alike = (part, name) => [...part.querySelectorAll(FOCUSABLE)].filter((each) => nameOf(each) === name);

  document.addEventListener("htmx:beforeRequest", ifLive((detail, event) => {
    const selection = window.getSelection();
    const isSelecting = selection !== null && !selection.isCollapsed && detail.elt.contains(selection.anchorNode);
    const isTyping = detail.elt.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
    if (isSelecting || isTyping) event.preventDefault();
  }));

  document.addEventListener("htmx:beforeSwap", ifLive((detail) => {
    const part = detail.elt;
    const active = document.activeElement;
    renewed = part.id;
    focused = null;
    if (part.contains(active)) focused = { name: nameOf(active), nth: alike(part, nameOf(active)).indexOf(active) };
    open = [...part.querySelectorAll("details")].map((each) => each.open);
  }));

  document.addEventListener("htmx:afterSwap", (event) => {
    const part = event.detail.elt && event.detail.elt.id ? document.getElementById(event.detail.elt.id) : null;
    if (part === null || part.id !== renewed) return;
    renewed = null;
    succeeded();
    part.querySelectorAll("details").forEach((each, index) => { each.open = open[index] === true; });
    if (focused !== null) {
      const found = alike(part, focused.name);
      (found[focused.nth] || found[0] || document.getElementById("main")).focus({ preventScroll: true });
      focused = null;
    }
  });

  // --- tick all boxes of a form ---

  document.querySelectorAll("input[data-check-all]").forEach((all) => {
    const boxes = () => [...all.form.querySelectorAll(`input[type=checkbox][name="${CSS.escape(all.dataset.checkAll)}"]`)];
    const look = () => {
      const ticked = boxes().filter((box) => box.checked).length;
      all.checked = ticked > 0 && ticked === boxes().length;
      all.indeterminate = ticked > 0 && !all.checked;
    };
    const label = all.closest("label");
    if (label !== null) label.hidden = false;
    all.hidden = false;
    all.addEventListener("change", () => boxes().forEach((box) => { box.checked = all.checked; }));
    all.form.addEventListener("change", (event) => { if (event.target !== all) look(); });
    look();
  });

  // --- the plot of the rate ---

  const box = document.querySelector("[data-plot]");
  if (box === null || typeof uPlot === "undefined") return;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Of the last step while nobody points at one.
  const told = (tell) => (u, value, series, index) => {
    const shown = index === null || index === undefined ? u.data && u.data[series] && u.data[series].at(-1) : value;
    return tell(shown === undefined ? null : shown);
  };
  const rate = (none) => told((value) => (value === null ? none : value.toFixed(1) + "/s"));
  let plot = null;

  function draw(data) {
    if (plot !== null) plot.destroy();
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    plot = new uPlot({
      width: box.clientWidth,
      height: 220,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { y: { range: (u, low, high) => [0, Math.max(high * 1.1, 1)] } },
      axes: [
        { ...axis, space: 70, values: (u, splits) => splits.map((at) => new Date(at * 1000).toISOString().slice(11, 16)) },
        { ...axis, size: 46 },
      ],
      series: [
        { label: "UTC", value: told((at) => (at === null ? "–" : new Date(at * 1000).toISOString().slice(11, 19))) },
        { label: "sent", stroke: colour("--plot-sent"), fill: colour("--plot-sent") + "22", width: 2, value: rate("–"), points: { show: false } },
        { label: "limit", stroke: colour("--plot-allowed"), width: 1.5, dash: [6, 4], value: rate("none"), points: { show: false } },
        { label: "429s", stroke: colour("--plot-refused"), fill: colour("--plot-refused") + "55", width: 1, value: rate("0.0/s"), points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 14] }) },
      ],
    }, data, box);
  }

  async function refresh() {
    try {
      const answer = await fetch(box.dataset.plot, { headers: { Accept: "application/json" } });
      if (!answer.ok) return; // the live part of the page says so
      const found = await answer.json();
      const refused = found.too_many_requests.map((count) => count || null); // no bar, not even a flat one
      const data = [found.at, found.sent, found.allowed, refused];
      if (plot === null) draw(data);
      else plot.setData(data);
    } catch {
      // As above.
    }
  }

  refresh();
  setInterval(refresh, 5000);
  new ResizeObserver(() => { if (plot !== null) plot.setSize({ width: box.clientWidth, height: 220 }); }).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (plot !== null) draw(plot.data); });
})();
