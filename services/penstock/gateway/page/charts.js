// Charts over the last minutes: time runs to the right, now is the right edge.

const SPAN_S = 600;
const WIDTH = 600;
const HEIGHT = 170;
const LEFT = 62;
const TOP = 10;
const BOTTOM = 24;
const ROLES = ["prefill", "decode", "mixed", "encoder"];

const x_of = (age_s) => LEFT + (WIDTH - LEFT) * (1 - Math.min(age_s, SPAN_S) / SPAN_S);
const y_of = (value, top) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);

function frame(top, label) {
  const lines = [0, 0.5, 1].map((share) => {
    const y = y_of(share * top, top);
    return s("g", {}, s("line", { x1: LEFT, x2: WIDTH, y1: y, y2: y, class: "grid" }),
      s("text", { x: LEFT - 8, y: y + 5, "text-anchor": "end" }, label(share * top)));
  });
  const times = [[SPAN_S, "10 min ago", "start"], [SPAN_S / 2, "5 min", "middle"], [0, "now", "end"]].map(
    ([age_s, text, anchor]) => s("text", { x: x_of(age_s), y: HEIGHT - 4, "text-anchor": anchor }, text));
  return [...lines, ...times];
}

function draw(id, title, parts) {
  $(id).replaceChildren(
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title }, ...parts));
}

function line(points, value_of, top, name) {
  const shown = points.filter((point) => value_of(point) !== null && point.age_s <= SPAN_S);
  const path = shown.map((point) => `${x_of(point.age_s).toFixed(1)},${y_of(value_of(point), top).toFixed(1)}`);
  return s("polyline", { points: path.join(" "), class: name });
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function draw_roles(points, flips) {
  const total = (point) => ROLES.reduce((sum, role) => sum + point[role], 0);
  const top = Math.max(2, ...points.map(total));
  const areas = ROLES.filter((role) => points.some((point) => point[role])).map((role) => {
    const below = (point) => ROLES.slice(0, ROLES.indexOf(role)).reduce((sum, other) => sum + point[other], 0);
    const shapes = points.map((point, index) => {
      const next = points[index + 1] ? points[index + 1].age_s : 0;
      const y = y_of(below(point) + point[role], top);
      const x = x_of(point.age_s);
      return point.age_s > SPAN_S ? "" : `M${x.toFixed(1)} ${y}H${x_of(next).toFixed(1)}V${y_of(below(point), top)}H${x.toFixed(1)}Z`;
    });
    return s("path", { d: shapes.join(""), class: `fill-${role}` });
  });
  const marks = flips.filter((flip) => flip.age_s < SPAN_S).map((flip) => {
    const x = x_of(flip.age_s);
    return s("line", { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM, class: "flip" }, s("title", {}, `${flip.subject}: ${flip.change}`));
  });
  draw("chart-roles", "Workers by role over the last ten minutes", [...frame(top, (value) => number(value)), ...areas, ...marks]);
  const last = points[points.length - 1];
  const keys = ROLES.filter((role) => points.some((point) => point[role]));
  $("legend-roles").replaceChildren(
    ...keys.map((role) => h("span", {}, h("i", { class: `key-${role}` }), `${role} ${last ? last[role] : 0}`)),
    h("span", {}, "lines mark flips"));
}

function draw_lines(id, title, points, columns, label, goal) {
  const values = points.flatMap((point) => columns.map(([column]) => point[column] || 0));
  const top = nice(Math.max(goal ? goal * 1.2 : 0, ...values, 1e-3));
  const goals = goal ? [s("line", { x1: LEFT, x2: WIDTH, y1: y_of(goal, top), y2: y_of(goal, top), class: "goal" })] : [];
  const lines = columns.map(([column, name]) => line(points, (point) => point[column], top, `line-${name}`));
  draw(`chart-${id}`, title, [...frame(top, label), ...goals, ...lines]);
  $(`legend-${id}`).replaceChildren(
    ...columns.map(([, name, text]) => h("span", {}, h("i", { class: `key-${name}` }), text)),
    ...(goal ? [h("span", {}, h("i", { class: "key-goal" }), `objective ${label(goal)}`)] : []));
}
