// The sale page. No framework and no build step: what you read is what runs.

const TEXTS = {
  en: {
    your_orders: "Your orders",
    on_offer: "On offer",
    nothing: "No sale is announced right now. This page looks again by itself.",
    footer: "Every accepted order is durable before you hear of it. Your receipt proves it.",
    buy: "Buy",
    buying: "One moment…",
    sold_out: "Sold out",
    left: (n) => `${n} left`,
    pay: "Pay",
    cancel: "Cancel order",
    receipt: "Receipt",
    receipt_hint: "We signed this. Keep it: it says what was promised to you.",
    order: "Order",
    starts_in: "Starts in",
    ends_in: "Ends in",
    days: "days",
    hours: "hours",
    minutes: "minutes",
    seconds: "seconds",
    pay_within: (time) => `Held for you for another ${time}.`,
    again: "Many are buying right now. We are asking again for you…",
    offline: "The shop cannot be reached right now. We keep trying.",
    no_demo: "Buying on this page is only possible in a demo shop.",
    state: {
      planned: "Planned", armed: "Starting soon", open: "Open now", paused: "Paused",
      fenced: "Paused for a check", closed: "It is over", retired: "It is over",
    },
    order_state: {
      accepted: "Accepted", pending_payment: "Waiting for payment", paid: "Paid",
      shipped: "Shipped", completed: "Completed", after_sale: "In after-sale",
      cancelled: "Cancelled", rejected: "Rejected",
    },
    order_hint: {
      accepted: "It is yours, and being written down.",
      paid: "Thank you. We are getting it ready.",
    },
    reason: {
      member: "You cancelled it.", expired: "It was not paid in time.",
      staff: "The shop cancelled it.", late: "It was paid too late; the money goes back.",
      "epoch-lost": "A disk was lost with it. You were not charged.",
    },
  },
  zh: {
    your_orders: "我的订单",
    on_offer: "限时特价",
    nothing: "目前没有活动，页面会自动刷新。",
    footer: "每个受理的订单在告知您之前都已安全落盘，凭证可以证明。",
    buy: "立即抢购",
    buying: "请稍候…",
    sold_out: "已售罄",
    left: (n) => `剩余 ${n} 件`,
    pay: "去支付",
    cancel: "取消订单",
    receipt: "购买凭证",
    receipt_hint: "这是我们签名的凭证，请妥善保存，它记录了对您的承诺。",
    order: "订单号",
    starts_in: "距开始",
    ends_in: "距结束",
    days: "天",
    hours: "时",
    minutes: "分",
    seconds: "秒",
    pay_within: (time) => `为您保留 ${time}，请尽快支付。`,
    again: "抢购人数较多，正在为您重试…",
    offline: "暂时无法连接商店，正在重试。",
    no_demo: "此页面仅可在演示商店中购买。",
    state: {
      planned: "筹备中", armed: "即将开始", open: "抢购中", paused: "已暂停",
      fenced: "核对中，暂停", closed: "已结束", retired: "已结束",
    },
    order_state: {
      accepted: "已受理", pending_payment: "待支付", paid: "已支付", shipped: "已发货",
      completed: "已完成", after_sale: "售后中", cancelled: "已取消", rejected: "未成交",
    },
    order_hint: {
      accepted: "已为您保留，正在写入订单。",
      paid: "感谢购买，正在为您备货。",
    },
    reason: {
      member: "您已取消。", expired: "未在时限内支付。", staff: "商店已取消。",
      late: "支付超时，款项将退回。", "epoch-lost": "存储设备损坏，订单未成立，未收取费用。",
    },
  },
};

const TRIES_MAX = 8;
const CALM_MS = 600;
const ORDERS_MAX = 20;
const PRODUCT_PAGES_MAX = 10;
const FINAL = new Set(["cancelled", "rejected", "completed"]);
const WAITING = new Set(["planned", "armed", "paused", "fenced"]);

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
let clockAhead = 0;
let events = null;
const buying = new Set();
const seen = new Map();
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
  const wanted = new URLSearchParams(location.search).get("sale");
  if (wanted) return ask(`/v1/sales/${encodeURIComponent(wanted)}`);
  const { items } = await ask("/v1/sales?limit=50");
  return items.find((s) => s.state === "open") ?? items.find((s) => WAITING.has(s.state)) ?? items[0] ?? null;
}

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

async function load() {
  try {
    sale = await findSale();
    if (sale) {
      setClock(sale.server_time);
      await loadProducts();
      follow();
    }
    say("");
  } catch {
    say(text().offline);
  }
  drawAll();
  if (!sale || isOver()) setTimeout(load, 5000);
}

function follow() {
  events?.close();
  if (isOver()) return;
  events = new EventSource(`/v1/sales/${encodeURIComponent(sale.sale_id)}/events`);
  events.addEventListener("sale", (event) => {
    const told = JSON.parse(event.data);
    setClock(told.server_time);
    sale.state = told.state;
    for (const item of sale.items) item.left = told.left[item.sku_id] ?? item.left;
    say("");
    drawSale();
    updateOffers();
    if (isOver()) { events.close(); setTimeout(load, 5000); }
  });
  events.addEventListener("error", () => say(text().offline));
}

const isOver = () => sale.state === "closed" || sale.state === "retired";
const setClock = (time) => { clockAhead = Date.parse(time) - Date.now(); };

// --- buying

async function buy(skuId) {
  if (buying.has(skuId)) return;
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
    say("");
    await calm;
    keepOrder(order);
    drawOrders();
    $("orders").focus();
    $("orders").scrollIntoView({ behavior: "smooth", block: "start" });
    track(order.order_id);
  } catch (error) {
    if (error.status && error.status !== 503 && error.status !== 401) store.drop(slot);
    say(explain(error));
  } finally {
    buying.delete(skuId);
    updateOffers();
  }
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
      if (error.status !== 401) say(text().again);
      await pause((error.retryAfter || 1) * 1000 * (0.5 + Math.random()));
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

async function pay(orderId, button) {
  await once(button, async () => {
    const payment = await askAsMember(`/v1/orders/${encodeURIComponent(orderId)}/payments`, {
      method: "POST",
      body: { channel: "sandbox" },
    });
    if (/^https?:\/\//.test(payment.pay_url ?? "")) location.assign(payment.pay_url);
  });
}

async function cancel(orderId, button) {
  await once(button, async () => {
    seen.set(orderId, await askAsMember(`/v1/orders/${encodeURIComponent(orderId)}/cancel`, { method: "POST" }));
    drawOrders();
  });
}

async function once(button, work) {
  button.disabled = true;
  try { await work(); say(""); } catch (error) { say(explain(error)); } finally { button.disabled = false; }
}

// --- drawing

function say(what) {
  $("notice").textContent = what;
  $("notice").hidden = !what;
}

function money(minor, currency) {
  const format = new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en", { style: "currency", currency, currencyDisplay: "narrowSymbol" });
  return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
}

const count = (n) => new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en").format(n);

function drawTexts() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = text()[each.dataset.text];
  for (const each of document.querySelectorAll("[data-language]")) {
    each.setAttribute("aria-pressed", String(each.dataset.language === language));
  }
}

function drawAll() {
  drawTexts();
  $("nothing").hidden = Boolean(sale);
  $("offers-title").hidden = !sale;
  drawSale();
  drawOffers();
  drawOrders();
}

function drawSale() {
  $("sale-state").textContent = sale ? text().state[sale.state] ?? sale.state : "";
  $("sale-state").classList.toggle("quiet", Boolean(sale) && sale.state !== "open" && sale.state !== "armed");
  $("sale-name").textContent = sale ? sale.name : "Sluice";
  document.title = sale ? `${sale.name} · Sluice` : "Sluice";
  drawCountdown();
}

function drawCountdown() {
  const target = !sale || isOver() ? null : Date.parse(Date.parse(sale.starts_at) > now() ? sale.starts_at : sale.ends_at);
  $("countdown-label").textContent = target === null ? "" : text()[Date.parse(sale.starts_at) > now() ? "starts_in" : "ends_in"];
  const whole = target === null ? null : Math.max(0, Math.ceil((target - now()) / 1000));
  const parts = whole === null ? [] : [
    ["days", Math.floor(whole / 86400)], ["hours", Math.floor(whole / 3600) % 24],
    ["minutes", Math.floor(whole / 60) % 60], ["seconds", whole % 60],
  ];
  $("countdown").replaceChildren(...parts.map(([name, value]) => {
    const box = document.createElement("div");
    const figure = document.createElement("strong");
    const label = document.createElement("span");
    figure.textContent = String(value).padStart(2, "0");
    label.textContent = text()[name];
    box.append(figure, label);
    return box;
  }));
}

function drawOffers() {
  const offered = new Map((sale?.items ?? []).map((item) => [item.sku_id, item]));
  const cards = [];
  for (const product of products) {
    const skus = product.skus.filter((sku) => offered.has(sku.sku_id));
    if (skus.length === 0) continue;
    const card = $("product-template").content.cloneNode(true).firstElementChild;
    card.querySelector("h3").textContent = product.title;
    card.querySelector("ul").append(...skus.map((sku) => drawOffer(sku, offered.get(sku.sku_id), product.title)));
    cards.push(card);
  }
  $("offers").replaceChildren(...cards);
  updateOffers();
}

function drawOffer(sku, item, title) {
  const row = $("offer-template").content.cloneNode(true).firstElementChild;
  row.dataset.sku = sku.sku_id;
  row.querySelector(".variant").textContent = sku.code;
  row.querySelector(".price").textContent = money(item.price, item.currency);
  const before = row.querySelector(".before");
  before.hidden = sku.currency !== item.currency || sku.price <= item.price;
  before.textContent = money(sku.price, sku.currency);
  const button = row.querySelector(".buy");
  button.setAttribute("aria-label", `${text().buy}: ${title}, ${sku.code}`);
  button.addEventListener("click", () => buy(sku.sku_id));
  row.querySelector(".shelf").setAttribute("aria-label", title);
  return row;
}

function updateOffers() {
  const items = new Map((sale?.items ?? []).map((item) => [item.sku_id, item]));
  for (const row of document.querySelectorAll(".offer")) {
    const item = items.get(row.dataset.sku);
    const button = row.querySelector(".buy");
    const busy = buying.has(item.sku_id);
    row.querySelector(".shelf").max = item.quota;
    row.querySelector(".shelf").value = item.left;
    row.querySelector(".left").textContent = item.left ? text().left(count(item.left)) : text().sold_out;
    button.textContent = busy ? text().buying : text().buy;
    button.disabled = busy || sale.state !== "open" || item.left === 0;
  }
}

function drawOrders() {
  const kept = store.get("orders", []);
  $("orders").hidden = kept.length === 0;
  const list = $("order-list");
  const cards = new Map([...list.children].map((card) => [card.dataset.order, card]));
  list.replaceChildren(...kept.map((order) => updateOrder(cards.get(order.order_id) ?? newOrder(order), order)));
}

function newOrder({ order_id, receipt }) {
  const card = $("order-template").content.cloneNode(true).firstElementChild;
  card.dataset.order = order_id;
  card.querySelector(".order-id").textContent = order_id;
  card.querySelector(".receipt").textContent = receipt ?? "";
  card.querySelector(".pay").addEventListener("click", (event) => pay(order_id, event.currentTarget));
  card.querySelector(".cancel").addEventListener("click", (event) => cancel(order_id, event.currentTarget));
  return card;
}

function updateOrder(card, kept) {
  const order = seen.get(kept.order_id) ?? { state: "accepted" };
  const product = products.find((p) => p.skus.some((sku) => sku.sku_id === kept.sku_id));
  card.querySelector("h3").textContent = product?.title ?? `${text().order} ${kept.order_id.slice(0, 8)}`;
  card.querySelector(".order-state").textContent = text().order_state[order.state] ?? order.state;
  card.querySelector(".order-hint").textContent = hintOf(order);
  const unpaid = order.state === "pending_payment";
  card.querySelector(".pay").hidden = !unpaid;
  card.querySelector(".cancel").hidden = !unpaid;
  for (const each of card.querySelectorAll("[data-text]")) each.textContent = text()[each.dataset.text];
  if (unpaid) card.querySelector(".pay").textContent = `${text().pay} ${money(order.amount, order.currency)}`;
  return card;
}

function hintOf(order) {
  if (order.reason) return text().reason[order.reason] ?? order.reason;
  if (order.state !== "pending_payment") return text().order_hint[order.state] ?? "";
  const left = Math.max(0, Math.floor((Date.parse(order.expires_at) - now()) / 1000));
  return text().pay_within(`${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`);
}

// --- begin

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", async () => {
    language = button.dataset.language;
    store.set("language", language);
    drawAll();
    await loadProducts().catch(() => {});
    drawAll();
  });
}

const came = new URLSearchParams(location.search).get("order");
if (came && store.get("session") && !store.get("orders", []).some((o) => o.order_id === came)) {
  keepOrder({ order_id: came });
}
for (const order of store.get("orders", [])) track(order.order_id);

setInterval(() => {
  drawCountdown();
  for (const kept of store.get("orders", [])) {
    const order = seen.get(kept.order_id);
    const card = document.querySelector(`[data-order="${CSS.escape(kept.order_id)}"]`);
    if (card && order?.state === "pending_payment") card.querySelector(".order-hint").textContent = hintOf(order);
  }
}, 1000);

drawTexts();
load();
