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
  for (const key of Object.keys(made)) if (made[key]?.title?.text) made[key].title.font = {size: 13};
  return made;
}

function plot(place, traces, more) {
  if (!window.Plotly) return;
  const settings = {displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"]};
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

function valueOf(trial) { return trial.values ? trial.values[0] : trial.value; }

function sweepSection(study) {
  const made = element("section", {"aria-label": `Sweep ${study.name}`}, element("h2", {}, "What the sweep found"));
  for (const best of study.best)
    made.append(element("p", {class: "verdict"}, `Best, trial ${best.number}: ${study.metrics.map((metric, i) =>
      `${metric} ${short((best.values || [best.value])[i])}`).join(", ")}`), command(best.command));
  if (!study.best.length) made.append(element("p", {}, "No trial has a value yet."));
  made.append(notes(study.notes));
  const shares = Object.entries(study.importance);
  if (shares.length) {
    const label = "Importance of each parameter. " + shares.map(([name, share]) => `${name}: ${short2(share)}`).join(", ");
    made.append(figure("Importance: share of each parameter in how much the trials differ", label, place => {
      place.style.height = `${5 + 2 * shares.length}rem`;
      plot(place, [{type: "bar", orientation: "h", y: shares.map(([name]) => plain(name)), x: shares.map(([, share]) => share),
        marker: {color: colour(0)}, text: shares.map(([, share]) => ` ${short2(share)}`), textposition: "outside", cliponaxis: false,
        hoverinfo: "skip"}], {yaxis: {autorange: "reversed", ticksuffix: "  ", showgrid: false}, xaxis: {range: [0, narrow(place) ? 1.5 : 1.1], tickvals: [0, .5, 1]}});
    }, behind(study.command, study.again)));
  }
  return made;
}

function searchFigures(study) {
  const trials = study.trials.filter(trial => typeof valueOf(trial) === "number");
  if (trials.length < 2) return null;
  const names = [...new Set(trials.flatMap(trial => Object.keys(trial.parameters)))];
  const varied = names.filter(name => name !== "phase" && new Set(trials.map(trial => String(trial.parameters[name]))).size > 1);
  const made = element("section", {"aria-label": "Search"}, element("h2", {}, study.kind === "race" ? "Tuning" : "Search"));
  const label = `of ${trials.length} trials over ${varied.join(", ")}`;
  const source = () => behind(study.command, study.again);
  made.append(element("div", {class: "pair"},
    figure(study.kind === "race" ? "Runs in their order" : "Values in the order of the trials", `Values ${label}`, place => history(place, study, trials), source()),
    figure("Parallel coordinates: a line a trial, the brighter the better", `Parallel coordinates ${label}`, place => parallel(place, study, trials, varied), source())),
    figure("Slices: each parameter against the value", `Slices ${label}`, place => slices(place, study, trials, varied.filter(name => name !== "strategy")), source()));
  return made;
}

const goalOf = study => data.targets[study.metrics[0]]?.mode || (study.kind === "race" ? study.rules.target?.mode : null)
  || (/loss|err|seconds|steps|time_to_target/.test(study.metrics[0]) ? "min" : "max");
const groupOf = (study, trial) => study.kind === "race" ? String(trial.parameters.strategy) : trial.state;

function grouped(study, trials) {
  const names = [...new Set(trials.map(trial => groupOf(study, trial)))];
  return names.map((name, i) => [name, trials.filter(trial => groupOf(study, trial) === name), i]);
}

const SYMBOLS = ["circle", "x", "diamond", "square", "triangle-up", "cross", "star", "hexagon"];
const hover = trial => `trial ${trial.number}, ${plain(trial.state)}: ${short(valueOf(trial))}<br>` +
  Object.entries(trial.parameters).map(([key, value]) => plain(`${key}=${short(value)}`)).join("<br>");

function history(place, study, trials) {
  const better = goalOf(study) === "min" ? Math.min : Math.max;
  const traces = grouped(study, trials).map(([name, own, i]) => ({x: own.map(t => t.number), y: own.map(valueOf), mode: "markers", name: plain(name),
    marker: {color: colour(i), symbol: SYMBOLS[i % 8], size: 8}, text: own.map(hover), hovertemplate: "%{text}<extra></extra>"}));
  let best = null;
  const whole = trials.filter(t => t.state !== "pruned");
  if (study.kind !== "race") traces.push({x: whole.map(t => t.number), y: whole.map(t => best = best === null ? valueOf(t) : better(best, valueOf(t))),
    mode: "lines", line: {shape: "hv", color: css("--ink"), width: 2}, name: "best so far", hoverinfo: "skip"});
  plot(place, traces, {showlegend: true, xaxis: {title: {text: "trial"}}, yaxis: {title: {text: plain(study.metrics[0])}}});
}

function scaleOf(values) {
  if (!values.every(value => typeof value === "number")) {
    const kinds = [...new Set(values.map(String))].sort();
    return {at: value => kinds.length > 1 ? kinds.indexOf(String(value)) / (kinds.length - 1) : .5, ticks: kinds.map((kind, i) => [kinds.length > 1 ? i / (kinds.length - 1) : .5, kind]), log: false, kinds};
  }
  const low = Math.min(...values), high = Math.max(...values), log = low > 0 && high / low > 30;
  const through = x => log ? Math.log(x) : x, span = through(high) - through(low) || 1;
  return {at: x => (through(x) - through(low)) / span, ticks: [[0, short2(low)], [1, short2(high)]], log};
}

function parallel(place, study, trials, names) {
  const own = trials.map(trial => ({...trial.parameters, [study.metrics[0]]: valueOf(trial)}));
  const axes = [...names, study.metrics[0]];
  const scales = axes.map(name => scaleOf(own.map(one => one[name]).filter(value => value !== undefined)));
  const sign = goalOf(study) === "min" ? 1 : -1, BINS = 6;
  const order = own.map((one, i) => [sign * one[study.metrics[0]], i]).sort((a, b) => b[0] - a[0]).map(([, i]) => i);
  const dark = root.dataset.theme === "dark";
  const traces = [];
  for (let bin = 0; bin < BINS; bin++) {
    const part = order.filter((_, rank) => Math.floor(rank * BINS / order.length) === bin), x = [], y = [];
    for (const i of part) {
      axes.forEach((name, a) => { x.push(a); y.push(own[i][name] === undefined ? null : scales[a].at(own[i][name])); });
      x.push(null); y.push(null);
    }
    const share = bin / (BINS - 1), light = dark ? 32 + 50 * share : 86 - 56 * share;
    traces.push({x, y, mode: "lines", line: {color: `hsl(${215 - 5 * share}, ${20 + 70 * share}%, ${light}%)`, width: bin === BINS - 1 ? 2.5 : 1.2}, hoverinfo: "skip"});
  }
  const annotations = axes.flatMap((name, a) => scales[a].ticks.slice(0, 12).map(([at, text]) => ({x: a, y: at, text: plain(text), showarrow: false,
    xshift: a === axes.length - 1 ? 4 : -4, xanchor: a === axes.length - 1 ? "left" : "right", font: {size: 11}, bgcolor: css("--back")})));
  plot(place, traces, {annotations, margin: {l: 60, r: 60, t: 20, b: 60},
    xaxis: {tickvals: axes.map((_, a) => a), ticktext: axes.map(name => plain(name.split(".").slice(-2).join("."))), showgrid: true, gridcolor: css("--faint"), range: [-.35, axes.length - .65]},
    yaxis: {visible: false, range: [-.06, 1.06]}});
}

function slices(place, study, trials, names) {
  const across = Math.max(1, Math.min(names.length, narrow(place) ? 1 : 3)), down = Math.ceil(names.length / across);
  place.style.height = `${Math.max(17, 15 * down)}rem`;
  const traces = [], more = {grid: {rows: down, columns: across, pattern: "independent", ygap: .35, xgap: .12}, showlegend: true};
  names.forEach((name, at) => {
    const scale = scaleOf(trials.map(trial => trial.parameters[name]).filter(value => value !== undefined)), n = at ? at + 1 : "";
    more[`xaxis${n}`] = {title: {text: plain(name)}, type: scale.kinds ? "category" : scale.log ? "log" : "linear", ...(scale.log ? {dtick: 1, exponentformat: "power"} : {})};
    more[`yaxis${n}`] = at % across ? {} : {title: {text: plain(study.metrics[0])}};
    for (const [group, own, i] of grouped(study, trials)) traces.push({x: own.map(t => scale.kinds ? plain(t.parameters[name]) : t.parameters[name]), y: own.map(valueOf), mode: "markers",
      xaxis: `x${n}`, yaxis: `y${n}`, name: plain(group), legendgroup: plain(group), showlegend: at === 0, marker: {color: colour(i), symbol: SYMBOLS[i % 8], size: 7},
      text: own.map(hover), hovertemplate: "%{text}<extra></extra>"});
  });
  plot(place, traces, more);
}

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
  return rows.map(row => ({name: data.own.map(key => `${key.split(".").pop()}=${brief(row.cells[key])}`).join(" ") || row.cells.run, runs: row.runs.map(i => data.runs[i])}));
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

function curveTraces(name) {
  const given = series(), drawn = given.length > PALETTE ? 5 : PALETTE;
  const all = given.map(one => ({...one, runs: one.runs.filter(run => run.curves[name])})).filter(one => one.runs.length);
  const traces = [], dotted = runs => runs.every(run => run.curves[name][0].length < 12) ? "lines+markers" : "lines";
  all.slice(0, drawn).forEach((one, i) => {
    const single = one.runs.length === 1, label = plain(one.name.length > 70 ? one.name.slice(0, 69) + "\u2026" : one.name);
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
  const goal = data.targets[name]?.value, traces = curveTraces(name), lines = Number.isFinite(goal) && view.target;
  const drawn = traces.filter(trace => trace.showlegend !== false).length;
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
  return short(value);
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
  if (sweep) return `Sweep over ${[...new Set(sweep.trials.flatMap(trial => Object.keys(trial.parameters)))].join(", ") || sweep.name}`;
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
  redraw();
  root.dataset.ready = "";
}

start();
