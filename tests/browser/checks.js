// What a browser can tell of a page's care for people. Each function answers with what is wrong.

function visible(node) {
  return node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && node.getClientRects().length > 0;
}

function named(node) {
  return `${node.tagName.toLowerCase()}#${node.id}.${node.className} ${node.textContent.trim().slice(0, 40)}`;
}

function overflow() {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  return [...document.body.querySelectorAll("*")].filter((node) => visible(node) && node.getBoundingClientRect().right > width).map(named);
}

// WCAG 2.2 asks for 24 pixels, except for links within text.
function smallTargets() {
  return [...document.querySelectorAll("button, summary")].filter(visible).filter((node) => {
    const { width, height } = node.getBoundingClientRect();
    return width < 24 || height < 24;
  }).map(named);
}

function luminance([red, green, blue]) {
  const [r, g, b] = [red, green, blue].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);

function ground(node) {
  for (let at = node; at; at = at.parentElement) {
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
}

function contrasts() {
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || node.closest("noscript, template") || !visible(node)) continue;
    const [one, other] = [numbers(getComputedStyle(node).color), ground(node)].map(luminance);
    found.set(node, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05));
  }
  return [...found].map(([node, ratio]) => ({ what: named(node), ratio }));
}

function nameless() {
  const controls = [...document.querySelectorAll("button, a, summary, progress, input, [role=group]")].filter(visible);
  return controls.filter((node) => !(node.ariaLabel ?? node.textContent).trim()).map(named);
}

function faults() {
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  const levels = [...document.querySelectorAll("h1, h2, h3")].filter(visible).map((node) => Number(node.tagName[1]));
  const broken = [...document.querySelectorAll("[aria-labelledby]")].filter((node) => !document.getElementById(node.getAttribute("aria-labelledby"))?.textContent.trim());
  const wrong = {
    "no lang": !document.documentElement.lang,
    "no title": !document.title,
    "not one main": document.querySelectorAll("main").length !== 1,
    "not one h1": levels.filter((level) => level === 1).length !== 1,
    "a level of headings is left out": levels.some((level, place) => level > (levels[place - 1] ?? 0) + 1),
    "an id twice": new Set(ids).size !== ids.length,
    "a label that is not there": broken.length > 0,
    "an image without alt": document.querySelector("img:not([alt])") !== null,
    "no zooming": /maximum-scale|user-scalable/.test(document.querySelector("meta[name=viewport]").content),
    "a tabindex above 0": [...document.querySelectorAll("[tabindex]")].some((node) => node.tabIndex > 0),
  };
  return Object.keys(wrong).filter((name) => wrong[name]);
}

function focusRing() {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
}

// The score that Core Web Vitals call CLS, without its windows: everything since the page began.
function shift() {
  return new Promise((done) => {
    let sum = 0;
    const observer = new PerformanceObserver((list) => { for (const entry of list.getEntries()) sum += entry.value; });
    observer.observe({ type: "layout-shift", buffered: true });
    requestAnimationFrame(() => requestAnimationFrame(() => {
      for (const entry of observer.takeRecords()) sum += entry.value;
      done(sum);
    }));
  });
}

// The names of all texts, in English and in Chinese.
async function textNames() {
  const { TEXTS } = await import("/page/texts.js");
  const names = (texts, before) => Object.entries(texts).flatMap(([name, what]) => (typeof what === "object" ? names(what, `${before}${name}.`) : [before + name]));
  return [names(TEXTS.en, ""), names(TEXTS.zh, "")];
}
