"use strict";
// What the pages do better with scripts. Everything works without: forms, links and tables are plain.
(() => {
  const typing = (target) => target.closest("input, select, textarea, [contenteditable]") !== null;

  // Arrows lead to the day before and after; a slash leads to the form.
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const goal = { ArrowLeft: ".days a[rel=prev]", ArrowRight: ".days a[rel=next]", "/": "[data-first]" }[event.key];
    const found = goal && document.querySelector(goal);
    if (!found) return;
    event.preventDefault();
    if (event.key === "/") found.focus();
    else found.click();
  });

  // A form that books is sent once; should it be sent twice all the same, its request id books it once.
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-once]")) return;
    if (event.target.dataset.sent) event.preventDefault();
    else event.target.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => {
    document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent);
  });

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const spaced = (mark) => {
    const [whole, decimals] = String(mark).split(".");
    const groups = whole.replace(/\B(?=(\d{3})+$)/g, "\u2009");
    return decimals === undefined ? groups : `${groups}.${decimals}`;
  };

  const drawn = new WeakMap();

  async function draw(place) {
    let points = drawn.get(place);
    if (!points) {
      const answer = await fetch(place.dataset.chart, { headers: { "HX-Request": "true" } });
      if (!answer.ok) return void place.append("The chart could not be loaded. Load the page again.");
      points = await answer.json();
      drawn.set(place, points);
    }
    if (points.days.length === 0) return void place.replaceChildren("No day to show.");
    place.replaceChildren();
    const exact = (values) => (_, value, series, index) => (index === null ? "–" : `${values[index]} ${points.currency}`);
    const axis = { stroke: style("--muted"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1 } };
    const line = (label, values, color, width) => ({
      label, stroke: color, width, value: exact(values), points: { show: values.length < 40, size: 5, fill: color },
      paths: uPlot.paths.stepped({ align: 1 }),
    });
    const credit = points.credit.some((value) => Number(value) !== 0);
    new uPlot({
      width: place.clientWidth,
      height: place.clientWidth < 480 ? 180 : 240,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"), // days, whatever zone the browser is in
      scales: { y: { range: (_, low, high) => uPlot.rangeNum(Math.min(low, high), high, 0.1, true) } },
      series: [
        { label: "Day", value: (_, value, series, index) => (index === null ? "–" : points.days[index]) },
        line("Balance", points.balance, style("--accent"), 2),
        ...(credit ? [line("Credit", points.credit, style("--second"), 1.5)] : []),
      ],
      axes: [
        { ...axis, space: 80, values: (_, seconds) => seconds.map((at) => new Date(at * 1000).toISOString().slice(0, 10)) },
        { ...axis, size: 90, values: (_, marks) => marks.map((mark) => spaced(mark)) },
      ],
      legend: { live: true },
    }, [
      points.days.map((day) => Date.parse(day) / 1000),
      points.balance.map(Number),
      ...(credit ? [points.credit.map(Number)] : []),
    ], place);
  }

  // A table that fits leaves scrolling to the page, so that its labels stay in sight there.
  const fit = () => document.querySelectorAll(".pane").forEach((pane) => {
    pane.classList.remove("fits");
    const fits = pane.scrollWidth <= pane.clientWidth;
    pane.classList.toggle("fits", fits);
    if (fits) pane.removeAttribute("tabindex");
    else pane.tabIndex = 0;
  });

  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);
  const arrive = () => { fit(); drawAll(); };
  document.addEventListener("DOMContentLoaded", arrive);
  document.addEventListener("htmx:afterSettle", arrive);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    arrive();
  });
})();
