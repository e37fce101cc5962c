"use strict";
// Draws the page out of the JSON in #data. Every text of a run becomes a text node; no markup is ever parsed from it.
const data = JSON.parse(document.getElementById("data").textContent);
const PALETTE = 8, TEXTS = new Set(["run", "status", "metric", "strategy", "phase", ...data.own]);
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash"];
const LABELS = {train_seconds: "train s", seconds_to_target: "s to target"};
const drawings = [];  // functions that draw a figure anew: at the start, and when the theme or a filter changes

// --- words and elements -------------------------------------------------------------------------------------------

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

function short(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
}

const brief = text => text !== "" && Number.isFinite(Number(text)) ? String(Number(Number(text).toPrecision(3))) : text;

// Plotly reads a little markup in its labels: what stands there must not be any.
const narrow = place => place.clientWidth < 560;
const plain = text => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const say = text => { document.getElementById("said").textContent = text; };

async function copy(text, button) {
  let done = true;
  try { await navigator.clipboard.writeText(text); } catch { done = copyByHand(text); }
  const before = button.textContent;
  button.textContent = done ? "Copied" : "Press Ctrl+C";
  say(done ? "Copied to the clipboard" : "Could not copy");
  setTimeout(() => { button.textContent = before; }, 1500);
}

function copyByHand(text) {
  const area = element("textarea", {class: "unseen"});
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

function command(text) {
  const button = element("button", {type: "button", "aria-label": `Copy the command: ${text}`}, "Copy");
  button.addEventListener("click", () => copy(text, button));
  return element("div", {class: "command"}, element("code", {}, text), button);
}

const notes = lines => element("ul", {class: "notes"}, ...lines.map(line => element("li", {}, line)));

function behind(text, lines) {
  return element("details", {class: "behind"}, element("summary", {}, `Command and the ${lines.length} runs behind this`),
    command(text), element("ul", {}, ...lines.map(line => element("li", {}, element("code", {}, line)))));
}

// The runs behind a figure that draws now these, now those.
function nowBehind(place, lines) {
  const before = place.parentNode.querySelector(".behind"), made = behind(data.command, lines);
  made.open = before.open;
  before.replaceWith(made);
}

let figures = 0;
function figure(title, label, draw, below) {
  const id = `caption${figures++}`;
  const plot = element("div", {class: "plot", role: "img", "aria-label": label});
  drawings.push(() => draw(plot));
  return element("figure", {role: "group", "aria-labelledby": id}, element("figcaption", {id}, title), plot, below);
}

function select(title, options, chosen, act) {
  const made = element("select", {"aria-label": title}, ...options.map(o => element("option", {value: o}, o)));
  made.value = chosen;
  made.addEventListener("change", () => act(made.value));
  return element("label", {}, element("span", {class: "quiet"}, title), made);
}

function radios(title, name, options, chosen, act) {
  return element("fieldset", {}, element("legend", {}, title), ...Object.entries(options).map(([value, label]) =>
    element("label", {}, element("input", {type: "radio", name, value, checked: value === chosen,
      on: {change: () => act(value)}}), label)));
}

function tick(label, checked, act) {
  const box = element("input", {type: "checkbox", checked});
  box.addEventListener("change", () => act(box.checked));
  return element("label", {}, box, label);
}

// --- theme --------------------------------------------------------------------------------------------------------

const root = document.documentElement;
const css = name => getComputedStyle(root).getPropertyValue(name).trim();
const colour = i => css(`--c${i % PALETTE}`);

function setTheme(theme) {
  root.dataset.theme = theme;
  document.getElementById("theme").textContent = theme === "dark" ? "Light" : "Dark";
  document.getElementById("theme").setAttribute("aria-label", `Change to the ${theme === "dark" ? "light" : "dark"} theme`);
}

function layout(more) {
  const axis = {gridcolor: css("--grid"), zeroline: false, linecolor: css("--line"), tickcolor: css("--line"), automargin: true};
  const made = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: css("--ink"), size: 13,
    family: getComputedStyle(document.body).fontFamily}, margin: {l: 50, r: 15, t: 15, b: 45}, showlegend: false,
    hoverlabel: {bgcolor: css("--panel"), bordercolor: css("--line"), font: {color: css("--ink")}}, ...more,
    legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0, ...more.legend},
  };
  for (const key of Object.keys(made).filter(key => /^[xy]axis\d*$/.test(key))) made[key] = {...axis, ...made[key]};
  for (const key of ["xaxis", "yaxis"]) made[key] = made[key] || axis;
  for (const key of Object.keys(made)) if (made[key]?.title?.text) Object.assign(made[key].title, {font: {size: 13}, standoff: 8});
  return made;
}

function plot(place, traces, more) {
  if (!window.Plotly) return;
  const settings = {displaylogo: false, responsive: true, displayModeBar: narrow(place) ? false : "hover", modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"]};
  window.Plotly.react(place, traces, layout(more), settings);
}

// --- races --------------------------------------------------------------------------------------------------------

function verdictTable(study) {
  const heads = ["strategy", "times sooner", "interval", "in seconds of training", "hits", "p (Holm)", "steps of tuning", "paid back after"];
  const lines = study.verdict.map(entry => [entry.strategy, short2(entry.ratio), interval(entry),
    entry.seconds ? `${short2(entry.seconds.ratio)} (${interval(entry.seconds)})` : "", `${entry.hits} of ${entry.n}`,
    short3(entry.p_adjusted), short(study.strategies[entry.strategy]?.tuning_steps),
    entry.payback ? `${Math.ceil(entry.payback)} trainings` : ""]);
  return element("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Verdicts"},
    element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((head, i) =>
      element("th", {scope: "col", class: i ? "number" : null}, head)))),
    element("tbody", {}, ...lines.map(line => element("tr", {}, ...line.map((text, i) =>
      element(i ? "td" : "th", i ? {class: "number"} : {scope: "row"}, text)))))));
}

const short2 = value => value === null || value === undefined ? "" : String(Number(value.toPrecision(3)));
const short3 = value => value === null || value === undefined ? "" : String(Number(value.toPrecision(2)));
const interval = entry => `${entry.low === null ? "?" : short2(entry.low)} to ${entry.high === null ? "\u221e" : short2(entry.high)}`;

function ratios(place, study) {
  const known = study.verdict.filter(entry => entry.ratio > 0 || entry.low > 0);
  const bounds = known.flatMap(e => [e.ratio, e.low, e.high]).filter(x => x > 0);
  const least = Math.min(0.8, ...bounds) / 1.15, most = Math.max(1.25, ...bounds) * 1.35;
  const name = entry => plain(entry.strategy);
  const traces = [];
  known.forEach((entry, i) => {
    const ratio = entry.ratio || entry.low, low = entry.low || least, high = entry.high ?? most;
    const shown = entry.low > 1 ? colour(2) : entry.high !== null && entry.high < 1 ? colour(1) : css("--faint");
    traces.push({x: [1, ratio], y: [name(entry), name(entry)], mode: "lines", line: {width: 22, color: shown}, opacity: .55, hoverinfo: "skip"});
    traces.push({x: [low, high], y: [name(entry), name(entry)], mode: "lines+markers", line: {width: 2, color: css("--ink")},
      marker: {symbol: "line-ns-open", size: 14, color: css("--ink")}, hovertemplate: "%{x:.3g}<extra></extra>"});
    traces.push({x: [ratio], y: [name(entry)], mode: "markers", marker: {size: 9, color: css("--ink")}, hovertemplate: `${name(entry)} %{x:.3g}<extra></extra>`});
  });
  const annotations = known.map(entry => ({x: Math.log10(entry.high ?? most / 1.35), y: name(entry), text: `${short2(entry.ratio)}\u00d7, ${entry.hits} of ${entry.n}`,
    showarrow: false, xanchor: "left", xshift: 10, bgcolor: css("--back"), font: {size: 14}}));
  place.style.height = `${Math.max(9, 5.5 + 3.2 * known.length)}rem`;
  plot(place, traces, {
    xaxis: {type: "log", range: [Math.log10(least), Math.log10(most * (narrow(place) ? 2 : 1.25))], title: {text: `times sooner than ${plain(study.rules.baseline)}${narrow(place) ? "" : " (steps, log scale)"}`},
      tickvals: [.1, .2, .3, .5, .7, 1, 1.5, 2, 3, 5, 7, 10, 20, 50]},
    yaxis: {autorange: "reversed", type: "category", showgrid: false, ticksuffix: "  "}, annotations,
    shapes: [{type: "line", x0: 1, x1: 1, yref: "paper", y0: 0, y1: 1, line: {color: css("--ink"), width: 1.5, dash: "dot"}}],
  });
}

function raceSection(study) {
  const target = study.rules.target, goal = target ? `${target.metric} ${short(target.value)}` : "its target";
  const made = element("section", {"aria-label": `Race ${study.name}`},
    element("h2", {}, `Race to ${goal}`));
  if (!study.verdict.length) made.append(notes(study.notes));
  for (const entry of study.verdict)
    made.append(element("p", {class: "verdict"}, `${entry.strategy} v ${entry.baseline}: ${entry.sentence}`),
      entry.seconds ? element("p", {class: "quiet"}, `in seconds of training: ${entry.seconds.sentence}`) : null);
  const confirmed = data.runs.filter(run => run.phase === "confirmation").map(run => run.path);
  if (study.verdict.some(entry => entry.ratio !== null)) {
    const label = "Ratios to the baseline with exact intervals. " + study.verdict.map(e => `${e.strategy}: ${e.sentence}`).join(". ");
    made.append(figure("How much sooner, with exact intervals", label, place => ratios(place, study), behind(study.command, confirmed)),
      element("h3", {}, "In figures"), verdictTable(study));
  }
  if (study.verdict.length) made.append(element("h3", {}, "What the verdict rests on"), notes(study.notes));
  return made;
}

// --- sweeps -------------------------------------------------------------------------------------------------------

function sweepSection(study) {
  const made = element("section", {"aria-label": `Sweep ${study.name}`}, element("h2", {}, "What the sweep found"));
  for (const best of study.best)
    made.append(element("p", {class: "verdict"}, `Best, trial ${best.number}: ${study.metrics.map((metric, i) =>
      `${metric} ${short((best.values || [best.value])[i])}`).join(", ")}`), command(best.command));
  if (!study.best.length) made.append(element("p", {}, "No trial has a value yet."));
  made.append(notes(study.notes));
  made.append(...study.figures.filter(one => FIRST[one.name]).map(one => searchFigure(study, one.name, "")));
  return made;
}

// The figures are Optuna's own. Those of several objectives, or of a race's strategies, are shown one at a time.
const FIRST = {importance: true, pareto: true};
const view_of = {};

function searchFigures(study) {
  const shown = study.figures.filter(one => !FIRST[one.name]);
  if (!shown.length) return null;
  const kinds = [...new Set(shown.map(one => one.of).filter(Boolean))], names = [...new Set(shown.map(one => one.name))];
  view_of[study.name] = kinds[0] || "";
  const title = study.kind === "race" ? "Tuning" : "Search";
  const made = element("section", {"aria-label": title}, element("h2", {}, title));
  if (kinds.length > 1) made.append(element("div", {class: "controls"}, select(study.kind === "race" ? "Strategy" : "Objective",
    kinds, kinds[0], value => { view_of[study.name] = value; redraw(); })));
  const made_of = name => names.includes(name) ? searchFigure(study, name, kinds) : null;
  made.append(...[element("div", {class: "pair"}, made_of("history"), made_of("contour")), made_of("parallel"), made_of("slices")].filter(Boolean));
  return made;
}

function searchFigure(study, name) {
  const all = study.figures.filter(one => one.name === name);
  const chosen = () => all.find(one => !one.of || one.of === view_of[study.name]);
  const shares = name === "importance" ? Object.entries(study.importance).map(([key, share]) => `${key}: ${short2(share)}`) : [];
  const over = [...new Set(study.trials.flatMap(trial => Object.keys(trial.parameters)))].join(", ");
  const label = [all[0].title, `${study.trials.length} trials over ${over}`, ...shares].join(". ");
  const made = figure(all[0].title, label, place => {
    const one = chosen();
    made.hidden = !one;
    if (one) DRAW[name](place, study, themed(structuredClone(one)));
  }, behind(study.command, study.again));
  return made;
}

const isDark = () => root.dataset.theme === "dark";
// From what stands back to what stands out, whatever the theme.
const shade = share => `hsl(${215 - 5 * share}, ${20 + 70 * share}%, ${isDark() ? 32 + 50 * share : 86 - 56 * share}%)`;
const SCALE = () => [0, .25, .5, .75, 1].map(share => [share, shade(share)]);
const GREEN = /^rgb\([\d.]+, ([\d.]+)/;  // Optuna's scale of blues goes from a green of 251 to one of 48

function themed(one) {
  for (const trace of one.data) {
    if (trace.colorscale) Object.assign(trace, {colorscale: SCALE()});
    if (trace.marker?.colorscale) Object.assign(trace.marker, {colorscale: SCALE()});
    if (trace.marker?.color === "#cccccc") Object.assign(trace.marker, {color: css("--faint"), symbol: "x"});
    if (trace.marker?.color === "black") Object.assign(trace.marker, {color: css("--ink"), line: {width: 1, color: css("--back")}});
    const green = GREEN.exec(trace.line?.color || "");
    if (green) trace.line.color = shade((251 - Number(green[1])) / 203);
  }
  for (const word of one.layout.annotations || []) word.font = {size: 11, color: css("--ink")};
  for (const line of one.layout.shapes || []) line.line = {width: 1, color: css("--faint")};
  return one;
}

const hover = trial => `trial ${trial.number}, ${plain(trial.state)}: ${(trial.values || [trial.value]).map(short).join(", ")}<br>` +
  Object.entries(trial.parameters).map(([key, value]) => plain(`${key}=${short(value)}`)).join("<br>");
const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "star", "hexagon", "pentagon"];
const LEGEND_BELOW = {y: -.2, yanchor: "top"};

// The ticks of a log axis: powers of ten, or over less than two of them 1, 2 and 5 of each.
function decades(low, high) {
  const first = Math.floor(Math.log10(low)), span = Math.log10(high / low);
  if (span >= 2) return {dtick: Math.ceil(span / 6), exponentformat: "power"};
  const ticks = [0, 1, 2].flatMap(i => [1, 2, 5].map(each => each * 10 ** (first + i))).filter(at => at >= low * .9 && at <= high * 1.1);
  return {tickvals: ticks, ticktext: ticks.map(short)};
}

// Which trial a point is, where Optuna says it: by the axis of the history, by the colour of the others.
function say_trials(study, trace, numbers) {
  const trials = new Map(study.trials.map(trial => [trial.number, trial]));
  trace.text = numbers.map(number => trials.has(number) ? hover(trials.get(number)) : "");
  trace.hovertemplate = "%{text}<extra></extra>";
}

const DRAW = {
  importance(place, study, {data: traces, layout: more}) {
    place.style.height = `${6 + 2 * traces[0].y.length}rem`;
    Object.assign(traces[0], {marker: {color: colour(0)}, hoverinfo: "skip", hovertemplate: null});
    plot(place, traces, {...more, yaxis: {ticksuffix: "  ", showgrid: false}, showlegend: false,
      xaxis: {range: [0, narrow(place) ? 1.5 : 1.1], tickvals: [0, .5, 1]}});
  },
  history(place, study, {data: traces, layout: more}) {
    let points = 0;
    for (const trace of traces) {
      if (trace.mode === "lines") { trace.line = {shape: "hv", color: css("--ink"), width: 2}; trace.hoverinfo = "skip"; continue; }
      say_trials(study, trace, trace.x);
      if (trace.marker?.symbol) { trace.showlegend = trace.x.length > 0 && study.kind !== "race"; continue; }
      trace.marker = {color: colour(points), symbol: SYMBOLS[points++ % 8], size: 8};
      if (trace.name === plain(study.metrics[0])) trace.name = "whole";
    }
    more.xaxis.title.text = study.kind === "race" ? "run" : "trial";
    plot(place, traces, {...more, showlegend: true});
  },
  contour(place, study, {data: traces, layout: more}) {
    for (const key of ["xaxis", "yaxis"]) if (more[key].type === "log") Object.assign(more[key], decades(...more[key].range.map(at => 10 ** at)));
    traces[0].colorbar = {...traces[0].colorbar, thickness: 14, outlinewidth: 0};
    for (const trace of traces.slice(1)) trace.hovertemplate = `${more.xaxis.title.text} %{x:.3~g}<br>${more.yaxis.title.text} %{y:.3~g}<extra></extra>`;
    plot(place, traces, more);
  },
  parallel(place, study, {data: traces, layout: more}) {
    const axes = more.xaxis.tickvals.length, below = traces.some(trace => trace.showlegend);
    if (narrow(place.parentNode)) { place.style.minWidth = `${7.5 * axes}rem`; place.parentNode.tabIndex = 0; }
    place.style.height = "25rem";
    for (const trace of traces) {
      if (trace.marker?.colorbar) trace.marker.colorbar = {...trace.marker.colorbar, thickness: 14, outlinewidth: 0};
      if (trace.mode === "lines" && trace.x.length > 1) Object.assign(trace, {opacity: .8, line: {...trace.line, width: traces.length > 60 ? 1.2 : 2}});
      if (trace.showlegend) trace.line.color = css("--ink");
    }
    for (const word of more.annotations) word.bgcolor = css("--back");
    plot(place, traces, {...more, showlegend: below, legend: LEGEND_BELOW, margin: {l: 15, r: 15, t: 20, b: 60},
      xaxis: {...more.xaxis, range: [-.6, axes - .8], tickangle: 0, ticktext: more.xaxis.ticktext.map(text => text.replace(/[._]/g, "$&<br>"))}});
  },
  slices(place, study, {data: traces, layout: more}) {
    const keys = Object.keys(more).filter(key => key.startsWith("xaxis"));
    const ended = new Set(study.trials.filter(trial => trial.state === "pruned").map(trial => trial.number));
    const across = Math.max(1, Math.min(keys.length, narrow(place) ? 1 : 3)), down = Math.ceil(keys.length / across);
    place.style.height = `${Math.max(18, 15 * down)}rem`;
    keys.forEach((key, at) => {
      const {title, type, categoryorder, categoryarray} = more[key], y = key.replace("x", "y");
      const values = traces.filter(trace => (trace.xaxis || "x") === key.replace("axis", "")).flatMap(trace => trace.x);
      more[key] = {title, type, categoryorder, categoryarray, ...(type === "log" ? decades(Math.min(...values), Math.max(...values)) : {})};
      more[y] = {title: at % across ? undefined : more.yaxis.title, ...(at ? {matches: "y"} : {})};
    });
    for (const trace of traces) {
      say_trials(study, trace, trace.marker.color);
      trace.marker.symbol = trace.marker.color.map(number => ended.has(number) ? "x" : "circle");
      trace.marker = {...trace.marker, size: 8, line: {width: 1, color: css("--quiet")}, showscale: trace.marker.showscale && !narrow(place)};
      trace.marker.colorbar = {title: {text: "trial"}, thickness: 14, outlinewidth: 0};
    }
    plot(place, traces, {...more, grid: {rows: down, columns: across, pattern: "independent", ygap: .35, xgap: .12}});
  },
  pareto(place, study, {data: traces, layout: more}) {
    for (const trace of traces) {
      const best = trace === traces[traces.length - 1];
      trace.marker = {size: best ? 10 : 8, color: best ? colour(0) : css("--faint"), symbol: best ? "circle" : "circle-open"};
    }
    plot(place, traces, {...more, showlegend: true});
  },
};

// --- learning curves ----------------------------------------------------------------------------------------------

const AXES = {steps: "steps", samples: "samples", seconds: "seconds of training", tuned: "steps, tuning included"};
const view = {axis: "steps", metric: null, setting: null, log: false, target: true, tuning: false, rows: null};

function along(run, steps) {
  if (view.axis === "steps") return steps;
  if (view.axis === "tuned") return steps + (run.tuning || 0);
  const each = run.per_step[view.axis];
  return each === null ? null : steps * each;
}

// What is drawn: a series for each strategy of a race, else for each row of the table that its filter leaves.
function series() {
  const strategies = [...new Set(data.runs.map(run => run.strategy).filter(Boolean))];
  if (data.kind === "race" && strategies.length) return strategies.map(name => ({name,
    runs: data.runs.filter(run => run.strategy === name && (view.tuning || run.phase === "confirmation"))}));
  const rows = data.rows.filter((_, i) => !view.rows || view.rows.has(i));
  return rows.map(row => ({name: nameOf(row), runs: row.runs.map(i => data.runs[i])}));
}

// By its keys and values where they are few, else by its run and the values alone: the table has the keys.
function nameOf(row) {
  if (data.own.length < 3) return data.own.map(key => `${key.split(".").pop()}=${brief(row.cells[key])}`).join(" ") || row.cells.run;
  return `${row.cells.run}: ${data.own.map(key => brief(row.cells[key])).filter(text => text !== "default").join(" ")}`;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// The median over the seeds at each step that at least half of them have.
function middle(runs, name) {
  const at = new Map();
  for (const run of runs) run.curves[name][0].forEach((step, i) => {
    const x = along(run, step);
    if (x !== null) at.set(step, [...(at.get(step) || []), [x, run.curves[name][1][i]]]);
  });
  const steps = [...at.keys()].filter(step => at.get(step).length * 2 >= runs.length).sort((a, b) => a - b);
  return [steps.map(step => median(at.get(step).map(([x]) => x))), steps.map(step => median(at.get(step).map(([, y]) => y)))];
}

function strung(runs, name) {
  const x = [], y = [], text = [];
  for (const run of runs) {
    run.curves[name][0].forEach((step, i) => { x.push(along(run, step)); y.push(run.curves[name][1][i]); text.push(plain(`${run.path}, seed ${run.seed}`)); });
    x.push(null); y.push(null); text.push("");
  }
  return {x, y, text};
}

function curveTraces(name, most) {
  const given = series(), drawn = given.length > PALETTE ? 5 : PALETTE;
  const all = given.map(one => ({...one, runs: one.runs.filter(run => run.curves[name])})).filter(one => one.runs.length);
  const traces = [], dotted = runs => runs.every(run => run.curves[name][0].length < 12) ? "lines+markers" : "lines";
  all.slice(0, drawn).forEach((one, i) => {
    const single = one.runs.length === 1, label = plain(one.name.length > most ? one.name.slice(0, most - 1) + "\u2026" : one.name);
    traces.push({...strung(one.runs, name), mode: dotted(one.runs), line: {color: colour(i), width: single ? 2 : 1, dash: single ? DASHES[i] : "solid"}, opacity: single ? 1 : .4,
      marker: {size: 5}, name: label, legendgroup: String(i), showlegend: single, hovertemplate: "%{text}<br>%{x:.6~g}: %{y:.5~g}<extra></extra>"});
    if (single) return;
    const [x, y] = middle(one.runs, name);
    traces.push({x, y, mode: dotted(one.runs), line: {color: colour(i), width: 3.5, dash: DASHES[i]}, marker: {size: 8}, name: `${label} (median of ${one.runs.length})`,
      legendgroup: String(i), hovertemplate: "median<br>%{x:.6~g}: %{y:.5~g}<extra></extra>"});
  });
  const others = all.slice(drawn).flatMap(one => one.runs);
  if (others.length) traces.unshift({...strung(others, name), mode: dotted(others), line: {color: css("--faint"), width: 1}, marker: {size: 4}, opacity: .5, name: `${all.length - drawn} further rows`,
    hovertemplate: "%{text}<br>%{x:.6~g}: %{y:.5~g}<extra></extra>"});
  return traces;
}

function curve(place, name) {
  const goal = data.targets[name]?.value, traces = curveTraces(name, narrow(place) ? 34 : 50), lines = Number.isFinite(goal) && view.target;
  const drawn = traces.filter(trace => trace.showlegend !== false).length;
  nowBehind(place, series().flatMap(one => one.runs).filter(run => run.curves[name]).map(run => run.path));
  if (narrow(place)) place.style.height = `${16 + 1.7 * drawn}rem`;
  plot(place, traces, {
    showlegend: true, margin: {l: 50, r: 15, t: 15 , b: 45}, legend: {font: {size: 12}},
    xaxis: {title: {text: AXES[view.axis]}, rangemode: "tozero"}, yaxis: {title: {text: plain(name)}, type: view.log ? "log" : "linear"},
    shapes: lines ? [{type: "line", xref: "paper", x0: 0, x1: 1, y0: goal, y1: goal, line: {color: css("--ink"), width: 1.5, dash: "dash"}}] : [],
    annotations: lines ? [{xref: "paper", x: 1, xanchor: "right", y: view.log ? Math.log10(goal) : goal, yshift: 9, text: `target ${short(goal)}`, showarrow: false, bgcolor: css("--back")}] : [],
  });
  place.setAttribute("aria-label", `${name} against ${AXES[view.axis]}, ${drawn} lines: ${traces.filter(t => t.showlegend !== false).map(t => t.name).join("; ")}`);
}

function curvesSection() {
  const names = [...new Set(data.runs.flatMap(run => Object.keys(run.curves)))];
  const driven = name => name === "lr" || name.startsWith("lr/") || ["momentum", "beta1", "weight_decay"].includes(name);
  const metrics = names.filter(name => !driven(name)), settings = names.filter(driven);
  if (!metrics.length) return null;
  const points = name => Math.max(...data.runs.map(run => run.curves[name]?.[0].length || 0));
  const wanted = Object.keys(data.targets).find(name => metrics.includes(name) && points(name) > 2);
  view.metric = wanted || metrics.find(name => name === "train/loss") || metrics[0];
  view.setting = settings[0];
  const axes = Object.fromEntries(Object.entries(AXES).filter(([axis]) => axis === "steps" || (axis === "tuned" ? data.kind === "race" :
    data.runs.some(run => run.per_step[axis] !== null))));
  const again = act => value => { act(value); redraw(); };
  const paths = data.runs.map(run => run.path);
  const made = element("section", {"aria-label": "Learning curves", id: "curves"}, element("h2", {}, "Learning curves"),
    element("div", {class: "controls"},
      select("Metric", metrics, view.metric, again(value => { view.metric = value; })),
      radios("Against", "axis", axes, "steps", again(value => { view.axis = value; })),
      tick("log scale", false, again(value => { view.log = value; })),
      Object.values(data.targets).some(target => target.value !== null) ? tick("target", true, again(value => { view.target = value; })) : null,
      data.runs.some(run => run.phase === "tuning") ? tick("runs of tuning too", false, again(value => { view.tuning = value; })) : null));
  made.append(figure("Each seed thin, the median thick", "Learning curves", place => curve(place, view.metric), behind(data.command, paths)));
  if (settings.length) {
    made.append(element("div", {class: "controls"}, element("h3", {}, "What the schedule drives"),
      settings.length > 1 ? select("Setting", settings, view.setting, again(value => { view.setting = value; })) : null));
    made.append(figure("Learning rate and momentum as they were", "Learning rate", place => {
      const log = view.log; view.log = false; curve(place, view.setting); view.log = log;
    }, behind(data.command, paths)));
  }
  return made;
}

// --- the table ----------------------------------------------------------------------------------------------------

const state = {sort: null, down: false, hidden: new Set(), filter: data.kind === "race" && data.columns.includes("phase") ? "phase=confirmation" : ""};
const tooled = {};

function shownColumns() {
  const alike = name => new Set(data.rows.map(row => String(row.cells[name]))).size === 1;
  const unknown = name => data.rows.every(row => row.cells[name] === null);
  const single = data.rows.every(row => row.cells.n === 1), needless = single ? ["n", "median", "spread"] : [];
  return data.columns.filter(name => !state.hidden.has(name) && !needless.includes(name))
    .filter(name => !(["hits", "seconds_to_target", "spread"].includes(name) && unknown(name))).filter(name => name !== "metric" || !alike("metric"));
}

function label(name) {
  const metrics = new Set(data.rows.map(row => row.cells.metric).filter(Boolean));
  if (name === "best" && metrics.size === 1 && data.rows.every(row => row.cells.n === 1)) return [...metrics][0];
  if (name === "median" && metrics.size === 1) return `${[...metrics][0]} (median)`;
  return LABELS[name] || name;
}

function cellText(row, name) {
  const value = row.cells[name];
  if (name === "hits" && value !== null) return `${value} of ${row.cells.n}`;
  if (name === "seconds_to_target" && value === null) return row.cells.hits === null ? "" : "never";
  return data.own.includes(name) && value.length > 8 && Number.isFinite(Number(value)) ? short(Number(value)) : short(value);
}

// Words that all must stand in a row; median>0.9 and the like compare a column.
function passes(row) {
  return state.filter.trim().split(/\s+/).filter(Boolean).every(word => {
    const found = /^([^<>=]+)(<=|>=|<|>|=)(.+)$/.exec(word);
    if (found && data.columns.includes(found[1])) {
      const [, name, sign, wanted] = found, own = row.cells[name], [a, b] = [Number(own), Number(wanted)];
      if (sign === "=") return String(own) === wanted || (own !== null && a === b);
      if (own === null || Number.isNaN(a) || Number.isNaN(b)) return false;
      return {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[sign];
    }
    const text = [...Object.entries(row.cells).map(([key, value]) => `${key}=${short(value)}`), ...row.runs.map(i => data.runs[i].path)];
    return text.join(" ").toLowerCase().includes(word.toLowerCase());
  });
}

function ordered() {
  const rows = data.rows.map((row, i) => [row, i]).filter(([row]) => passes(row));
  if (!state.sort) return rows;
  const known = value => value !== null && value !== undefined && value !== "";
  const numeric = rows.every(([row]) => !known(row.cells[state.sort]) || !Number.isNaN(Number(row.cells[state.sort])));
  const compare = (a, b) => numeric ? Number(a) - Number(b) : String(a).localeCompare(String(b));
  return rows.sort(([a], [b]) => {
    const [x, y] = [a.cells[state.sort], b.cells[state.sort]];
    if (!known(x) || !known(y)) return known(y) - known(x);
    return state.down ? compare(y, x) : compare(x, y);
  });
}

function runLines(row, span) {
  const lines = row.runs.map(i => data.runs[i]).map(run => element("li", {},
    element("div", {}, element("code", {}, run.path), `  seed ${run.seed}, ${run.status}` + (run.value === null ? "" : `, best ${short(run.value)} at step ${run.at}`)
      + (run.reached ? `, target after ${short(run.reached.steps)} steps` : "")), command(run.command)));
  return element("tr", {class: "inner"}, element("td", {colspan: span}, element("ul", {class: "notes"}, ...lines)));
}

function fill() {
  const names = shownColumns(), rows = ordered();
  tooled.head.replaceChildren(element("tr", {}, element("th", {scope: "col"}, element("span", {class: "unseen"}, "runs")), ...names.map(name => {
    const direction = state.sort === name ? (state.down ? "descending" : "ascending") : "none";
    const press = () => { state.down = state.sort === name && !state.down; state.sort = name; fill(); tooled.head.querySelector(`[data-column="${CSS.escape(name)}"]`)?.focus(); };
    return element("th", {scope: "col", "aria-sort": direction, class: TEXTS.has(name) ? null : "number"},
      element("button", {type: "button", "data-column": name, on: {click: press}}, label(name)));
  })));
  tooled.body.replaceChildren(...rows.map(([row]) => {
    const line = element("tr", {});
    const open = element("button", {type: "button", class: "open", "aria-expanded": "false", "aria-label": `Runs and commands of ${row.cells.run}`}, "+");
    open.addEventListener("click", () => {
      const opened = open.getAttribute("aria-expanded") === "true";
      if (opened) line.nextSibling.remove(); else line.after(runLines(row, names.length + 1));
      open.setAttribute("aria-expanded", String(!opened));
      open.textContent = opened ? "+" : "\u2212";
    });
    line.append(element("td", {}, open), ...names.map(name => element("td", TEXTS.has(name) ? {} : {class: "number"}, cellText(row, name))));
    return line;
  }));
  tooled.count.textContent = rows.length === data.rows.length ? `${rows.length} rows` : `${rows.length} of ${data.rows.length} rows`;
  return rows;
}

function tableSection() {
  tooled.head = element("thead"); tooled.body = element("tbody");
  tooled.count = element("span", {class: "quiet", role: "status"});
  const search = element("input", {type: "search", placeholder: "adamw  median>0.9", "aria-label": "Filter the rows: words, or column>number", size: 26});
  search.value = state.filter;
  let waiting = null;
  search.addEventListener("input", () => {
    state.filter = search.value;
    view.rows = state.filter.trim() ? new Set(fill().map(([, i]) => i)) : (fill(), null);
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 250);  // the curves show what the table shows
  });
  const boxes = data.columns.map(name => tick(label(name), true, on => { on ? state.hidden.delete(name) : state.hidden.add(name); fill(); }));
  const made = element("section", {id: "table", "aria-label": "Table of the runs", tabindex: "-1"},
    element("h2", {}, `${data.runs.length} runs`), notes(data.notes),
    element("div", {class: "controls"}, element("label", {}, element("span", {class: "quiet"}, "Filter"), search), tooled.count,
      element("details", {}, element("summary", {}, "Columns"), element("div", {class: "columns"}, ...boxes))),
    element("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Table, scrolls sideways"}, element("table", {}, tooled.head, tooled.body)),
    element("p", {class: "quiet"}, "Runs that differ in the seed alone are one row. + shows them, each with its command."));
  fill();
  return made;
}

// --- the page -----------------------------------------------------------------------------------------------------

function redraw() { for (const draw of drawings) draw(); }

function titleOf() {
  const race = data.studies.find(study => study.kind === "race"), sweep = data.studies[0];
  if (race) return `Race: ${Object.keys(race.strategies).join(", ")}`;
  if (sweep) {
    const names = [...new Set(sweep.trials.flatMap(trial => Object.keys(trial.parameters)))], more = names.length - 4;
    return `Sweep over ${names.slice(0, 4).join(", ") || sweep.name}${more > 0 ? ` and ${more} more` : ""}`;
  }
  return data.runs.length === 1 ? "1 run" : `${data.runs.length} runs, ${data.rows.length} rows`;
}

function build() {
  const main = document.getElementById("main"), title = titleOf();
  document.getElementById("title").textContent = title;
  document.title = `${title} \u2013 kasoku`;
  document.getElementById("under").textContent = data.folders.join("  ");
  document.getElementById("written").textContent = `Written ${data.written} by: ${data.command}`;
  for (const study of data.studies) main.append(study.kind === "race" ? raceSection(study) : sweepSection(study));
  const table = tableSection(), curves = curvesSection();
  const searches = data.studies.map(searchFigures).filter(Boolean);
  main.append(...(data.kind === "runs" ? [table, curves] : [curves, ...searches, table]).filter(Boolean));
}

async function loadPlotly() {
  const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent.trim()), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(element("script", {}, await new Response(stream).text()));
}

async function start() {
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.getElementById("theme").addEventListener("click", () => { setTheme(root.dataset.theme === "dark" ? "light" : "dark"); redraw(); });
  build();
  try { await loadPlotly(); } catch { say("This browser cannot unpack the figures; the tables are all there."); }
  for (const draw of drawings) {  // from the top down, each on the screen before the next
    draw();
    await new Promise(done => setTimeout(done));
  }
  root.dataset.ready = "";
}

start();
