// A server of the official TypeScript SDK, as its documentation builds one; the release and the transport are chosen.
// usage: node server.mjs FOLDER-OF-NODE-MODULES PACKAGE stateful|stateless|sse|stdio
// Over HTTP its first line of output is the port.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, name, transport] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const load = (path) => import(pathToFileURL(require.resolve(`${name}/${path}`)).href);
const { McpServer } = await load("server/mcp.js");
// Releases of before 2025-11 know only this one.
const { z } = await import(pathToFileURL(require.resolve("zod/v3")).href);

let calls = 0;
let changed = false;
const all = new Set();

// What it offers is another than it was, and every session is told so.
function change() {
  for (const server of all) {
    if (changed) server.sendToolListChanged();
    else added(server);
  }
  changed = true;
}

function added(server) {
  server.tool("added", "Nobody approved this.", async () => ({ content: [{ type: "text", text: "1" }] }));
}

function offered() {
  const server = new McpServer({ name: "lab", version: "1.0.0" }, { instructions: "Two tools." });
  server.tool("add", "Add two integers.", { a: z.number(), b: z.number() }, async ({ a, b }) => {
    calls += 1;
    return { content: [{ type: "text", text: `${a + b}` }] };
  });
  server.prompt("greet", { name: z.string() }, ({ name }) => ({
    messages: [{ role: "user", content: { type: "text", text: `Say hello to ${name}` } }],
  }));
  if (changed) added(server);
  all.add(server);
  server.server.onclose = () => all.delete(server);
  server.resource("version", "config://version", async (uri) => ({ contents: [{ uri: uri.href, text: "1" }] }));
  return server;
}

function body(request) {
  return new Promise((resolve, reject) => {
    let text = "";
    request.on("data", (chunk) => (text += chunk));
    request.on("end", () => {
      try {
        resolve(text ? JSON.parse(text) : undefined);
      } catch (error) {
        reject(error);
      }
    });
    request.on("error", reject);
  });
}

function refused(response, message) {
  response.writeHead(400, { "Content-Type": "application/json" });
  response.end(JSON.stringify({ jsonrpc: "2.0", error: { code: -32000, message }, id: null }));
}

const sessions = new Map();

async function stateful(request, response) {
  const { StreamableHTTPServerTransport } = await load("server/streamableHttp.js");
  const said = await body(request);
  const known = sessions.get(request.headers["mcp-session-id"]);
  if (known) return known.handleRequest(request, response, said);
  if (said?.method !== "initialize") return refused(response, "Bad Request: No valid session ID provided");
  const opened = new StreamableHTTPServerTransport({
    sessionIdGenerator: () => randomUUID(),
    onsessioninitialized: (id) => sessions.set(id, opened),
  });
  await offered().connect(opened);
  const closed = opened.onclose;
  opened.onclose = () => {
    sessions.delete(opened.sessionId);
    closed?.();
  };
  return opened.handleRequest(request, response, said);
}

async function stateless(request, response) {
  const { StreamableHTTPServerTransport } = await load("server/streamableHttp.js");
  const one = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  response.on("close", () => one.close());
  await offered().connect(one);
  return one.handleRequest(request, response, await body(request));
}

async function older(request, response) {
  const { SSEServerTransport } = await load("server/sse.js");
  const url = new URL(request.url, "http://127.0.0.1");
  if (request.method === "GET") {
    const opened = new SSEServerTransport("/messages", response);
    sessions.set(opened.sessionId, opened);
    response.on("close", () => sessions.delete(opened.sessionId));
    return offered().connect(opened);
  }
  const known = url.pathname === "/messages" && sessions.get(url.searchParams.get("sessionId"));
  if (known) return known.handlePostMessage(request, response, await body(request));
  response.writeHead(405);
  return response.end();
}

if (transport === "stdio") {
  const { StdioServerTransport } = await load("server/stdio.js");
  await offered().connect(new StdioServerTransport());
} else {
  const answer = { stateful, stateless, sse: older }[transport];
  const http = createServer((request, response) => {
    if (request.url === "/change") {
      change();
      response.end();
      return;
    }
    if (request.url === "/state") {
      response.end(JSON.stringify({ sessions: sessions.size, calls }));
      return;
    }
    answer(request, response).catch((error) => {
      console.error(error);
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  http.listen(0, "127.0.0.1", () => console.log(http.address().port));
}
