"use strict";
// Everything from the server is inserted as text, so that nothing a task prints becomes markup.

const at = (id) => document.getElementById(id);
const token = at("token");
let limits = null;

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token.value) headers.Authorization = `Bearer ${token.value}`;
  return fetch(path, { ...options, headers });
}

function seconds(value) {
  return value < 1 ? `${(value * 1000).toFixed(2)} ms` : `${value.toFixed(2)} s`;
}

function bytes(value) {
  return value < 1 << 20 ? `${value} bytes` : `${(value / (1 << 20)).toFixed(1)} MiB`;
}

function amount(name, value) {
  return name.endsWith("_bytes") ? bytes(value) : seconds(value);
}

function facts(rows) {
  at("facts").replaceChildren(...rows.flatMap(([name, value]) => {
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    return [term, text];
  }));
}

function show(verdict, asked) {
  const refused = ["rejected", "wrong_type", "solution_error", "puzzle_error", "tests_error"].includes(verdict.status);
  at("status").textContent = verdict.status;
  at("status").className = verdict.status === "accepted" ? "accepted" : refused ? "refused" : "";
  at("message").textContent = verdict.message;
  const phases = { sol: "phase sol: running the solution", sat: "phase sat: calling the puzzle" };
  const rows = [["decided in", phases[verdict.phase] ?? (verdict.phase ? `phase ${verdict.phase}` : "no phase")]];
  if (verdict.total) {
    const first = verdict.decided_by === null ? "" : `, number ${verdict.decided_by + 1} decided`;
    rows.push(["cases", `${verdict.passed} of ${verdict.total} passed${first}`]);
  }
  if (verdict.limit) {
    const { name, configured, observed } = verdict.limit;
    rows.push(["limit", `${name}: ${amount(name, configured)} allowed, ${amount(name, observed)} observed`]);
  }
  const { cpu_seconds: cpu, wall_seconds: wall, peak_memory_bytes: peak } = verdict.usage;
  rows.push(["used", `${seconds(cpu)} CPU, ${seconds(wall)} elapsed, ${bytes(peak)} at most`]);
  let inForce = limits;
  if (limits && asked) {
    inForce = { ...limits, ...asked, wall_seconds: Math.min(limits.wall_seconds, 10 * asked.cpu_seconds + 1) };
  }
  if (inForce) {
    const shown = Object.entries(inForce).map(([name, value]) => `${name.replace(/_.*/, "")} ${amount(name, value)}`);
    rows.push(["limits", shown.join(", ")]);
  }
  if (verdict.answer_sha256) rows.push(["answer", `SHA-256 ${verdict.answer_sha256}`]);
  rows.push(["confined", verdict.level || "nothing ran"], ["by", verdict.verifier]);
  facts(rows);
  at("json").textContent = JSON.stringify(verdict, null, 2);
  at("verdict").hidden = false;
}

function explain(status, message) {
  at("status").textContent = status;
  at("status").className = "";
  at("message").textContent = message;
  facts([]);
  at("json").textContent = "";
  at("verdict").hidden = false;
}

async function judge(event) {
  event?.preventDefault();
  const task = { id: "page", sat: at("sat").value, sol: at("sol").value };
  if (at("cpu").value) task.limits = { cpu_seconds: Number(at("cpu").value) };
  at("judge").disabled = true;
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await ask("v1/verify", { method: "POST", headers, body: JSON.stringify(task) });
    const answer = await response.json();
    if (answer.status) show(answer, task.limits);
    else explain(`HTTP ${response.status}`, answer.detail);
  } catch (error) {
    explain("no answer", String(error));
  } finally {
    at("judge").disabled = false;
  }
}

async function connect() {
  const response = await ask("v1/config");
  at("token-field").hidden = response.status !== 401 && !token.value;
  if (!response.ok) {
    at("server").textContent = response.status === 401 ? "this server requires its token" : `HTTP ${response.status}`;
    return;
  }
  const config = await response.json();
  limits = config.limits;
  at("server").textContent = `${config.version}, level ${config.level}, ${config.workers} workers`;
  at("capacity").textContent = config.queue;
}

// Live: the metrics, once a second.
const history = [];
let last = null;

function parse(text) {
  const values = {}, counts = {};
  for (const line of text.split("\n")) {
    const found = /^(selftaught_\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!found) continue;
    const status = /^status="(\w+)"$/.exec(found[2] ?? "");
    if (found[1] === "selftaught_verdicts_total" && status) counts[status[1]] = Number(found[3]);
    else if (!found[2]) values[found[1]] = Number(found[3]);
  }
  return { values, counts };
}

function draw(counts) {
  const total = Object.values(counts).reduce((sum, value) => sum + value, 0), now = performance.now();
  const rate = last ? Math.max(0, total - last.total) / ((now - last.now) / 1000) : 0;
  last = { total, now };
  history.push(rate);
  history.splice(0, history.length - 60);
  at("rate").textContent = rate.toFixed(rate < 10 ? 1 : 0);
  const top = Math.max(1, ...history);
  const x = (i) => (60 - history.length + i) * (600 / 59), y = (value) => 78 - (value / top) * 74;
  at("line").setAttribute("points", history.map((value, i) => `${x(i)},${y(value)}`).join(" "));
  const rows = Object.entries(counts).filter(([, count]) => count).sort((a, b) => b[1] - a[1]);
  at("counts").replaceChildren(...rows.map(([status, count]) => {
    const row = document.createElement("tr");
    const share = `${(count / total * 100).toFixed(1)} %`;
    for (const text of [status, count.toLocaleString("en"), share]) row.insertCell().textContent = text;
    return row;
  }));
}

async function watch() {
  try {
    if (!document.hidden) {
      const response = await ask("metrics");
      if (response.ok) {
        const { values, counts } = parse(await response.text());
        at("queue").textContent = values.selftaught_tasks;
        at("restarts").textContent = values.selftaught_worker_restarts_total;
        draw(counts);
        if (!limits) await connect();
      } else if (response.status === 401) {
        await connect();
      }
    }
  } catch {
    at("server").textContent = "no connection to the server";
    limits = null;
  } finally {
    setTimeout(watch, 1000);
  }
}

at("task").addEventListener("submit", judge);
addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) judge(); });
token.addEventListener("change", connect);
connect().catch(() => {}).finally(watch);
