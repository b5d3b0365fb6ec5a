// The sale page. No framework and no build step: what you read is what runs.

import { TEXTS } from "./texts.js";

const TRIES_MAX = 8;
const CALM_MS = 600;
const LOOK_AGAIN_MS = 5000;
const ORDERS_MAX = 20;
const PRODUCT_PAGES_MAX = 10;
const CATEGORIES_MAX = 20;
const FINAL = new Set(["cancelled", "rejected", "completed"]);
const WAITING = new Set(["planned", "armed", "paused", "fenced"]);

const isCalm = matchMedia("(prefers-reduced-motion: reduce)");
const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const store = {
  get: (name, otherwise) => {
    try { return JSON.parse(localStorage.getItem(`sluice.${name}`)) ?? otherwise; } catch { return otherwise; }
  },
  set: (name, value) => {
    try { localStorage.setItem(`sluice.${name}`, JSON.stringify(value)); } catch { /* private mode: this page forgets */ }
  },
  drop: (name) => { try { localStorage.removeItem(`sluice.${name}`); } catch { /* as above */ } },
};

let language = store.get("language", navigator.languages?.find((l) => /^(en|zh)/i.test(l))?.slice(0, 2).toLowerCase() ?? "en");
if (!(language in TEXTS)) language = "en";
let sale = null;
let products = [];
let channels = [];
let attributes = new Map();
let clockAhead = 0;
let events = null;
let nextLook = null;
let missing = "";
let isLoaded = false;
let drawn = "";
const buying = new Set();
const seen = new Map();
const parameters = new URLSearchParams(location.search);
const cameBack = parameters.get("order");
const text = () => TEXTS[language];
const now = () => Date.now() + clockAhead;

class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? problem.title ?? String(status));
    Object.assign(this, { status, problem, retryAfter });
  }
}

async function ask(path, { method = "GET", body, headers = {} } = {}) {
  const answer = await fetch(path, {
    method,
    headers: {
      "Accept-Language": language === "zh" ? "zh-CN" : "en",
      ...(body ? { "Content-Type": "application/json" } : {}),
      ...headers,
    },
    body: body && JSON.stringify(body),
    cache: "no-store",
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said, Number(answer.headers.get("Retry-After")) || 0);
  return said;
}

async function signedIn() {
  const kept = store.get("session");
  if (kept) return kept;
  const session = await ask("/v1/demo/sessions", { method: "POST" });
  store.set("session", session);
  return session;
}

async function askAsMember(path, options = {}) {
  const session = await signedIn();
  try {
    return await ask(path, { ...options, headers: { ...options.headers, Authorization: `Bearer ${session.token}` } });
  } catch (error) {
    if (error.status === 401) store.drop("session");
    throw error;
  }
}

// --- the sale

async function findSale() {
  const wanted = parameters.get("sale");
  if (wanted) return lookAt(wanted);
  const boughtFrom = cameBack && store.get("orders", []).find((o) => o.order_id === cameBack)?.sale_id;
  const same = boughtFrom ? await lookAt(boughtFrom).catch(() => null) : null;
  if (same && !isOver(same)) return same;
  const { items } = await ask("/v1/sales?limit=50");
  return items.find((s) => s.state === "open") ?? items.find((s) => WAITING.has(s.state)) ?? items[0] ?? null;
}

const lookAt = (saleId) => ask(`/v1/sales/${encodeURIComponent(saleId)}`);

async function loadProducts() {
  const found = [];
  let cursor = null;
  for (let page = 0; page < PRODUCT_PAGES_MAX; page += 1) {
    const said = await ask(`/v1/products?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    found.push(...said.items);
    cursor = said.cursor;
    if (!cursor) break;
  }
  products = found;
}

async function loadAttributes(offered) {
  // How goods differ is told in words where it can be; by their codes it is told anyway.
  const asked = new Set(products.filter((p) => p.category_id && p.skus.some((sku) => offered.has(sku.sku_id))).map((p) => p.category_id));
  const told = await Promise.all([...asked].slice(0, CATEGORIES_MAX).map((id) => ask(`/v1/categories/${id}`).catch(() => null)));
  attributes = new Map(told.filter(Boolean).map((category) => [category.category_id, category.attributes.filter((a) => a.level === "sku")]));
}

async function loadGoods(found) {
  await loadProducts();
  await loadAttributes(new Set((found?.items ?? []).map((item) => item.sku_id)));
}

async function load() {
  clearTimeout(nextLook);
  try {
    const found = await findSale();
    if (found) setClock(found.server_time);
    channels = (await ask("/v1/payment-channels")).items.map((one) => one.channel);
    await loadGoods(found);
    [sale, missing, isLoaded] = [found, "", true];
    tell("connection", "");
  } catch (error) {
    if (error.status === 404) [missing, isLoaded] = [explain(error), true];
    else { tell("connection", text().offline); lookAgain(); }
    drawAll();
    return;
  }
  drawAll();
  if (!sale || isOver(sale)) lookAgain();
  else follow();
}

function lookAgain() {
  clearTimeout(nextLook);
  nextLook = setTimeout(load, LOOK_AGAIN_MS * (0.8 + 0.4 * Math.random()));
}

function follow() {
  events?.close();
  events = new EventSource(`/v1/sales/${encodeURIComponent(sale.sale_id)}/events`);
  events.addEventListener("sale", (event) => {
    const told = JSON.parse(event.data);
    setClock(told.server_time);
    sale.state = told.state;
    for (const item of sale.items) item.left = told.left[item.sku_id] ?? item.left;
    tell("connection", "");
    drawSale();
    updateOffers();
    if (isOver(sale)) { events.close(); lookAgain(); }
  });
  events.addEventListener("error", () => {
    tell("connection", text().offline);
    // A browser comes back to a stream that broke, but not to one that was refused.
    if (events.readyState === EventSource.CLOSED) lookAgain();
  });
}

const isOver = ({ state }) => state === "closed" || state === "retired";
const isSoldOut = ({ state, items }) => state === "open" && items.every((item) => item.left === 0);
const setClock = (time) => { clockAhead = Date.parse(time) - Date.now(); };

// --- buying

async function buy(skuId) {
  if (buying.has(skuId) || !isForSale(skuId)) return;
  buying.add(skuId);
  updateOffers();
  // What we draw moves the page: not under the second click of a double click.
  const calm = pause(CALM_MS);
  // The key outlives this page: until we know what became of it, every try is the same try.
  const slot = `key.${sale.sale_id}.${skuId}`;
  const key = store.get(slot) ?? crypto.randomUUID?.() ?? `k-${Date.now()}-${Math.random()}`;
  store.set(slot, key);
  try {
    const order = await placeOrder(skuId, key);
    store.drop(slot);
    tell("notice", "");
    await calm;
    keepOrder(order);
    drawOrders();
    $("orders").focus({ preventScroll: true });
    $("orders").scrollIntoView({ behavior: isCalm.matches ? "auto" : "smooth", block: "start" });
    track(order.order_id);
  } catch (error) {
    if (error.status && error.status !== 503 && error.status !== 401) store.drop(slot);
    tell("notice", explain(error));
  } finally {
    buying.delete(skuId);
    updateOffers();
  }
}

function isForSale(skuId) {
  return sale.state === "open" && sale.items.some((item) => item.sku_id === skuId && item.left > 0);
}

async function placeOrder(skuId, key) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await askAsMember(`/v1/sales/${sale.sale_id}/orders`, {
        method: "POST",
        body: { sku_id: skuId, quantity: 1 },
        headers: { "Idempotency-Key": key },
      });
    } catch (error) {
      const again = !error.status || error.status === 503 || error.status === 429 || error.status === 401;
      if (!again || attempt >= TRIES_MAX) throw error;
      if (error.status !== 401) tell("notice", error.status ? text().again : text().again_offline);
      // Never sooner than told, and not all at once.
      await pause((error.retryAfter || 1) * 1000 * (1 + Math.random() / 2));
    }
  }
}

function explain(error) {
  if (!error.status) return text().offline;
  if (error.status === 404 && error.problem.type?.endsWith("no-such-page")) return text().no_demo;
  const { title, left } = error.problem;
  return left ? `${title} ${text().left(left)}` : title ?? error.message;
}

// --- orders

function keepOrder({ order_id, sale_id, sku_id, receipt }) {
  const others = store.get("orders", []).filter((o) => o.order_id !== order_id);
  store.set("orders", [{ order_id, sale_id, sku_id, receipt }, ...others].slice(0, ORDERS_MAX));
}

async function track(orderId) {
  // Quick at first, then patient; a page that nobody looks at asks nothing.
  for (let round = 0; ; round += 1) {
    if (!document.hidden) {
      try {
        seen.set(orderId, await askAsMember(`/v1/orders/${encodeURIComponent(orderId)}`));
        drawOrders();
        if (FINAL.has(seen.get(orderId).state)) return;
      } catch (error) {
        if (error.status === 404) { forgetOrder(orderId); return; }
      }
    }
    await pause(round < 5 ? 800 : 4000);
  }
}

function forgetOrder(orderId) {
  store.set("orders", store.get("orders", []).filter((o) => o.order_id !== orderId));
  drawOrders();
}

// A trial provider is what a shop has before it has another one.
const channel = () => [store.get("channel"), "sandbox", ...channels].find((one) => channels.includes(one));

async function pay(orderId, button) {
  await once(button, async () => {
    const by = channel();
    const payment = await askAsMember(`/v1/orders/${encodeURIComponent(orderId)}/payments`, {
      method: "POST",
      body: { channel: by },
    });
    if (!/^https?:\/\//.test(payment.pay_url ?? "")) return;
    const page = new URL(payment.pay_url);
    // Others sign their addresses, and know themselves what their buyers speak.
    if (by === "sandbox") page.searchParams.set("lang", language);
    location.assign(page);
  });
}

async function cancel(orderId, button) {
  await once(button, async () => {
    seen.set(orderId, await askAsMember(`/v1/orders/${encodeURIComponent(orderId)}/cancel`, { method: "POST" }));
    drawOrders();
  });
}

async function once(button, work) {
  // Not `disabled`: that would take the focus from whoever uses a keyboard.
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  try { await work(); tell("notice", ""); } catch (error) { tell("notice", explain(error)); } finally { button.ariaDisabled = "false"; }
}

// --- drawing

const locale = () => (language === "zh" ? "zh-CN" : navigator.languages?.find((l) => /^en/i.test(l)) ?? "en");

function write(node, what) {
  if (node.textContent !== what) node.textContent = what;
}

function tell(where, what) {
  if ($(where).textContent === what) return;
  if (!what) { $(where).replaceChildren(); return; }
  const notice = $("notice-template").content.cloneNode(true).firstElementChild;
  notice.querySelector("span").textContent = what;
  if (where === "notice") notice.append(closer());
  $(where).replaceChildren(notice);
}

function closer() {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "close";
  button.ariaLabel = text().close;
  button.addEventListener("click", () => tell("notice", ""));
  return button;
}

function money(minor, currency) {
  const format = new Intl.NumberFormat(locale(), { style: "currency", currency, currencyDisplay: "narrowSymbol" });
  return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
}

const count = (n) => new Intl.NumberFormat(locale()).format(n);

function drawTexts() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const each of document.querySelectorAll("[data-text]")) write(each, text()[each.dataset.text]);
  for (const each of document.querySelectorAll("[data-language]")) {
    each.setAttribute("aria-pressed", String(each.dataset.language === language));
  }
}

function drawAll() {
  drawTexts();
  drawSale();
  if (isLoaded) drawOffers();
  drawOrders();
}

function drawSale() {
  const state = sale && (isSoldOut(sale) ? "sold_out" : sale.state);
  write($("sale-state"), sale ? text().state[state] ?? text()[state] ?? state : "");
  $("sale-state").classList.toggle("quiet", Boolean(sale) && state !== "open" && state !== "armed");
  write($("sale-name"), sale ? sale.name : isLoaded ? "Sluice" : text().loading);
  write($("sale-window"), sale ? windowOf(sale) : "\u00a0");
  write($("sale-hint"), text().state_hint[state] ?? "");
  document.title = sale ? `${sale.name} · Sluice` : "Sluice";
  drawCountdown();
}

function windowOf({ starts_at, ends_at }) {
  const style = language === "zh" ? { month: "long", hourCycle: "h23" } : { month: "short" };
  const format = new Intl.DateTimeFormat(locale(), { ...style, day: "numeric", hour: "numeric", minute: "2-digit" });
  return `${format.format(new Date(starts_at))} – ${format.format(new Date(ends_at))}`;
}

function drawCountdown() {
  $("when").hidden = sale ? isOver(sale) : isLoaded;
  if (!sale || isOver(sale)) return;
  const waits = Date.parse(sale.starts_at) > now();
  write($("countdown-label"), waits ? text().starts_in : sale.state === "armed" ? text().opening : text().ends_in);
  const whole = Math.max(0, Math.ceil((Date.parse(waits ? sale.starts_at : sale.ends_at) - now()) / 1000));
  const figures = {
    days: Math.floor(whole / 86400), hours: Math.floor(whole / 3600) % 24,
    minutes: Math.floor(whole / 60) % 60, seconds: whole % 60,
  };
  for (const box of $("countdown").children) {
    write(box.querySelector("strong"), String(figures[box.dataset.unit]).padStart(2, "0"));
  }
}

function drawOffers() {
  $("offers").ariaBusy = "false";
  write($("nothing"), sale ? "" : missing || text().nothing);
  $("nothing").hidden = Boolean(sale);
  $("offers-title").hidden = !sale;
  // What is drawn stays, with the focus in it, unless there is something else to draw.
  const wanted = JSON.stringify([language, products, [...attributes], sale?.items.map(({ sku_id, price, currency }) => [sku_id, price, currency])]);
  if (wanted === drawn) { updateOffers(); return; }
  drawn = wanted;
  const offered = new Map((sale?.items ?? []).map((item) => [item.sku_id, item]));
  const cards = [];
  for (const product of products) {
    const skus = product.skus.filter((sku) => offered.has(sku.sku_id));
    if (skus.length === 0) continue;
    const card = $("product-template").content.cloneNode(true).firstElementChild;
    card.querySelector("h3").textContent = product.title;
    const picture = product.images.find((image) => image.startsWith("/"));
    if (picture) card.querySelector("img").src = picture;
    card.querySelector("img").hidden = !picture;
    card.querySelector("ul").append(...skus.map((sku) => drawOffer(product, sku, offered.get(sku.sku_id))));
    cards.push(card);
  }
  $("offers").replaceChildren(...cards);
  updateOffers();
}

function variantOf(product, sku) {
  const words = (attributes.get(product.category_id) ?? []).filter(({ code }) => code in sku.attributes).map(({ code, kind, name, unit, choices }) => {
    const value = sku.attributes[code];
    if (kind === "choice") return choices.find((choice) => choice.code === value)?.name ?? value;
    if (kind === "number") return unit ? `${count(value)} ${unit}` : `${name} ${count(value)}`;
    return kind === "boolean" ? (value ? name : "") : value;
  });
  return words.filter(Boolean).join(" · ") || sku.code;
}

function drawOffer(product, sku, item) {
  const row = $("offer-template").content.cloneNode(true).firstElementChild;
  row.dataset.sku = sku.sku_id;
  row.dataset.title = `${product.title}, ${variantOf(product, sku)}`;
  row.querySelector(".variant").textContent = variantOf(product, sku);
  row.querySelector(".price").textContent = money(item.price, item.currency);
  row.querySelector(".limit").textContent = text().limit(count(item.limit));
  const before = row.querySelector(".before");
  before.hidden = sku.currency !== item.currency || sku.price <= item.price;
  before.textContent = money(sku.price, sku.currency);
  row.querySelector(".buy").addEventListener("click", () => buy(sku.sku_id));
  row.querySelector(".shelf").ariaLabel = row.dataset.title;
  return row;
}

function updateOffers() {
  const items = new Map((sale?.items ?? []).map((item) => [item.sku_id, item]));
  for (const row of document.querySelectorAll(".offer")) {
    const item = items.get(row.dataset.sku);
    const isBusy = buying.has(item.sku_id);
    const shelf = row.querySelector(".shelf");
    [shelf.max, shelf.value] = [item.quota, item.left];
    write(row.querySelector(".left"), item.left ? text().left(count(item.left)) : text().sold_out);
    const button = row.querySelector(".buy");
    const what = isBusy ? text().buying : text().not_open[sale.state] ?? (item.left ? text().buy : text().sold_out);
    write(button, what);
    button.ariaLabel = `${what}: ${row.dataset.title}`;
    button.ariaDisabled = String(isBusy || !isForSale(item.sku_id));
  }
}

function drawOrders() {
  const kept = store.get("orders", []);
  const list = $("order-list");
  const cards = new Map([...list.children].map((card) => [card.dataset.order, card]));
  const wanted = new Set(kept.map((order) => order.order_id));
  for (const [orderId, card] of cards) if (!wanted.has(orderId)) card.remove();
  kept.forEach((order, place) => {
    const card = cards.get(order.order_id) ?? newOrder(order);
    updateOrder(card, order);
    // Moving a card would take the focus out of it.
    if (list.children[place] !== card) list.insertBefore(card, list.children[place] ?? null);
  });
  $("orders").hidden = kept.length === 0;
}

function newOrder({ order_id, receipt }) {
  const card = $("order-template").content.cloneNode(true).firstElementChild;
  card.dataset.order = order_id;
  card.querySelector(".order-id").textContent = order_id;
  card.querySelector(".receipt").textContent = receipt ?? "";
  card.querySelector(".pay").addEventListener("click", (event) => pay(order_id, event.currentTarget));
  card.querySelector(".channel").addEventListener("change", (event) => {
    store.set("channel", event.currentTarget.value);
    drawOrders();
  });
  card.querySelector(".cancel").addEventListener("click", (event) => cancel(order_id, event.currentTarget));
  return card;
}

function updateOrder(card, kept) {
  const order = seen.get(kept.order_id) ?? { state: "accepted" };
  const skuId = order.sku_id ?? kept.sku_id;
  const product = products.find((p) => p.skus.some((sku) => sku.sku_id === skuId));
  card.dataset.state = order.state;
  for (const each of card.querySelectorAll("[data-text]")) write(each, text()[each.dataset.text]);
  write(card.querySelector("h3"), product?.title ?? `${text().order} ${kept.order_id.slice(0, 8)}`);
  const sku = product?.skus.find((one) => one.sku_id === skuId);
  write(card.querySelector(".order-what"), whatOf(order, sku && variantOf(product, sku)));
  write(card.querySelector(".order-state"), text().order_state[order.state] ?? order.state);
  write(card.querySelector(".order-hint"), hintOf(order));
  const isUnpaid = order.state === "pending_payment";
  card.querySelector(".pay").hidden = !isUnpaid;
  card.querySelector(".cancel").hidden = !isUnpaid;
  drawChannels(card.querySelector(".channel"), isUnpaid);
  if (isUnpaid) write(card.querySelector(".pay"), `${text().pay} ${money(order.amount, order.currency)}`);
}

function drawChannels(choice, isUnpaid) {
  choice.hidden = !isUnpaid || channels.length < 2;
  if (choice.hidden) return;
  const names = channels.map((one) => text().channel[one] ?? one);
  // Options made anew would close a list that is open.
  if ([...choice.options].map((option) => option.text).join() !== names.join()) {
    choice.replaceChildren(...channels.map((one, place) => new Option(names[place], one)));
  }
  choice.ariaLabel = text().pay_by;
  choice.value = channel();
}

function whatOf({ quantity, amount, currency }, variant) {
  const many = quantity > 1 ? `× ${count(quantity)}` : "";
  return [variant, many, currency && money(amount, currency)].filter(Boolean).join(" · ");
}

function hintOf(order) {
  if (order.reason) return text().reason[order.reason] ?? order.reason;
  if (order.state !== "pending_payment") return text().order_hint[order.state] ?? "";
  const left = Math.floor((Date.parse(order.expires_at) - now()) / 1000);
  return left > 0 ? text().pay_within(clock(left)) : text().time_up;
}

function clock(whole) {
  const figures = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return figures.slice(figures[0] ? 0 : 1).map((n, place) => (place ? String(n).padStart(2, "0") : n)).join(":");
}

// --- begin

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", async () => {
    language = button.dataset.language;
    store.set("language", language);
    tell("notice", "");
    if ($("connection").textContent) tell("connection", text().offline);
    drawAll();
    await loadGoods(sale).catch(() => {});
    drawAll();
  });
}

if (cameBack && store.get("session")) {
  const kept = store.get("orders", []).find((order) => order.order_id === cameBack);
  keepOrder(kept ?? { order_id: cameBack });
}
if (cameBack) {
  // Providers add words of their own to the address.
  for (const name of [...parameters.keys()]) if (name !== "sale") parameters.delete(name);
  history.replaceState(null, "", `/${parameters.size ? `?${parameters}` : ""}`);
}
for (const order of store.get("orders", [])) track(order.order_id);

setInterval(() => {
  drawCountdown();
  for (const card of $("order-list").children) {
    const order = seen.get(card.dataset.order);
    if (order?.state === "pending_payment") write(card.querySelector(".order-hint"), hintOf(order));
  }
}, 1000);

// A browser guesses whether there is a network: see for ourselves.
for (const guess of ["offline", "online"]) window.addEventListener(guess, load);

drawAll();
load();
