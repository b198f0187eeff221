// The page itself: what each event changes.

const STAGES = [["waiting", "waiting at the gateway"], ["encode", "encode"], ["prefill", "prefill"], ["transfer", "KV transfer"], ["decode", "decode"]];
const MEANINGS = { auto: "Roles follow the load.", observe: "Decisions are logged, not carried out.", pinned: "Roles stay as they are." };
const MAX_DOTS = 60;
const SILENT_S = 2;

let points = [];
let columns = [];
let is_fresh = false; // the newest point of a history is that of the state after it
let model = "";

function as_point(row) {
  return Object.fromEntries(columns.map((column, index) => [column, row[index]]));
}

function on_history(history) {
  columns = history.columns;
  points = history.points.map(as_point);
  is_fresh = points.length > 0;
}

function on_state(state) {
  const { gateway, groups, pulse } = state;
  model = gateway.model;
  $("what").textContent = `${gateway.id} serves ${gateway.model}, version ${gateway.version}`;
  if (pulse.point && !is_fresh) remember(as_point(pulse.point));
  is_fresh = false;
  const changes = groups.flatMap((group) => group.role_changes);
  show_tiles(pulse, gateway);
  show_path(pulse.stages);
  draw_roles(points, changes.filter((change) => change.change.includes(" to ") && change.outcome === "done"));
  draw_lines("ttft", "Median and 99th percentile of time to first token", points,
    [["ttft_p50_s", "a", "median"], ["ttft_p99_s", "b", "99th percentile"]], seconds, pulse.objectives.ttft_s);
  draw_lines("tokens", "Tokens per second", points, [["tokens_per_s", "a", "delivered by this gateway"]], number, null);
  $("pools").replaceChildren(...groups.flatMap(show_group));
  show_changes(groups, changes);
}

function remember(point) {
  for (const earlier of points) earlier.age_s += 1;
  points.push(point);
  while (points.length > SPAN_S) points.shift();
}

function tile(text, value, grade = "") {
  return h("div", { class: "tile" }, h("b", { class: grade }, value), h("span", {}, text));
}

function against(quantile, objective) {
  if (quantile === null || !objective) return "";
  return quantile <= objective ? "good" : "bad";
}

function show_tiles(pulse, gateway) {
  const { ttft_s, tpot_s, objectives, outcomes, totals } = pulse;
  const failed = (outcomes.failed || 0) + (outcomes.shed || 0);
  $("tiles").replaceChildren(
    tile("requests a second", number(pulse.requests_per_s)),
    tile("tokens a second", number(pulse.tokens_per_s)),
    tile("first token, median", seconds(ttft_s.p50), against(ttft_s.p50, objectives.ttft_s)),
    tile("first token, 99 %", seconds(ttft_s.p99), against(ttft_s.p99, objectives.ttft_s)),
    tile("per token, median", seconds(tpot_s.p50), against(tpot_s.p50, objectives.tpot_s)),
    tile("per token, 99 %", seconds(tpot_s.p99), against(tpot_s.p99, objectives.tpot_s)),
    tile("in flight", number(gateway.num_requests)),
    tile("answered in all", number(totals.answered || 0)),
    tile("failed or shed, 1 min", number(failed), failed ? "bad" : ""));
}

function show_path(stages) {
  $("path").replaceChildren(...STAGES.filter(([name]) => name in stages).map(([name, text]) => {
    const dots = Array.from({ length: Math.min(stages[name], MAX_DOTS) }, () => h("i"));
    return h("li", { class: "stage", "data-stage": name },
      h("b", {}, number(stages[name])), h("span", {}, text), h("div", { class: "dots", "aria-hidden": "true" }, ...dots));
  }));
}

function show_group(group) {
  const roles = ROLES.filter((role) => group.workers.some((worker) => worker.role === role));
  return roles.map((role) => {
    const members = group.workers.filter((worker) => worker.role === role)
      .sort((one, other) => one.worker_id.localeCompare(other.worker_id, undefined, { numeric: true }));
    const title = h("h3", {}, `${role} `, h("span", {}, `${members.length} in group ${group.name}`));
    return h("div", { class: "group" }, title, h("div", { class: "workers" }, ...members.map(show_worker)));
  });
}

function show_worker(worker) {
  const [state, grade] = worker.is_draining ? ["draining", "warn"]
    : worker.heartbeat_age_s > SILENT_S ? [`silent for ${worker.heartbeat_age_s.toFixed(0)} s`, "bad"] : ["ok", ""];
  const used = worker.num_blocks - worker.num_free_blocks;
  const share = worker.num_blocks ? used / worker.num_blocks : 0;
  const links = Object.entries(worker.transports);
  const is_encoder = worker.role === "encoder";
  const what = is_encoder ? "embeddings" : "KV";
  const rows = [
    ["running", number(worker.num_running)],
    ["waiting", number(worker.num_waiting)],
    ...(is_encoder ? [["to encode", `${number(worker.num_prefill_tokens)} patches`]] : [
      ["to prefill", `${number(worker.num_prefill_tokens)} tokens`],
      ["per token", worker.token_interval_s ? seconds(worker.token_interval_s) : "–"],
    ]),
    [`${what} in use`, `${Math.round(100 * share)} % of ${number(worker.num_blocks)} blocks`],
    ...links.map(([peer, transport]) => [`${what} to ${peer}`, transport]),
  ];
  return h("div", { class: "worker", "data-role": worker.role },
    h("header", {}, h("strong", {}, worker.worker_id), h("em", { class: grade }, state)),
    h("meter", { min: 0, max: 1, high: 0.9, value: share.toFixed(3), "aria-label": `${what} in use on ${worker.worker_id}` }),
    h("dl", {}, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", { class: value === "tcp" ? "tcp" : "" }, value)])));
}

function show_changes(groups, changes) {
  $("steering").textContent = groups.map((group) => `${group.name}: ${MEANINGS[group.steering] || group.steering}`).join(" ");
  const latest = [...changes].sort((one, other) => one.age_s - other.age_s).slice(0, 12);
  $("changes").replaceChildren(...latest.map((change) => h("li", {},
    h("time", {}, ago(change.age_s)), `${change.subject}: ${change.change} `, h("q", {}, `${change.reason}; ${change.outcome}`))));
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!asking) ask(model, $("prompt").value, Number($("max-tokens").value));
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
});
$("stop").addEventListener("click", () => asking && asking.abort());
$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY_NAME, $("key-text").value);
  follow(on_history, on_state);
});
follow(on_history, on_state);
