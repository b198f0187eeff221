"use strict";
// Elements and figures as text. Text from outside only ever becomes text nodes.

const SVG = "http://www.w3.org/2000/svg";

function make(namespace, tag, attributes, children) {
  const element = namespace ? document.createElementNS(namespace, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}
const h = (tag, attributes = {}, ...children) => make(null, tag, attributes, children);
const s = (tag, attributes = {}, ...children) => make(SVG, tag, attributes, children);
const $ = (id) => document.getElementById(id);

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0995) return `${(value * 1000).toFixed(value < 0.00995 ? 1 : 0)} ms`;
  return value < 100 ? `${value.toFixed(2)} s` : `${value.toFixed(0)} s`;
}

function number(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 9950) return `${(value / 1000).toFixed(value >= 99500 ? 0 : 1)}k`;
  return value % 1 && value < 100 ? value.toFixed(1) : String(Math.round(value));
}

function ago(age_s) {
  if (age_s < 60) return `${Math.round(age_s)} s ago`;
  return age_s < 3600 ? `${Math.round(age_s / 60)} min ago` : `${(age_s / 3600).toFixed(1)} h ago`;
}
