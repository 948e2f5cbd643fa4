// An identity provider on loopback, its tokens in memory, that issues whatever it is asked to and lies when it is told.
// Arguments: the folder that its packages are in; the port.
import { pathToFileURL } from 'node:url';

const [folder, port] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${folder}/node_modules/oidc-provider/lib/index.js`));
const issuer = `http://127.0.0.1:${port}`;
const client = (id, more = {}) => ({
  client_id: id,
  client_secret: `${id}-secret-${id}-secret-${id}-secret`,
  grant_types: ['refresh_token', 'authorization_code', 'client_credentials'],
  redirect_uris: ['http://127.0.0.1/'],
  response_types: ['code'],
  ...more,
});
const may = async (ctx, asking, token) => asking.clientId === 'responder' || token.clientId === asking.clientId;
const provider = new Provider(issuer, {
  clients: [client('responder'), client('agent'), client('other'), client('careful')],
  // Of one only: what leaves the challenge out is found at the others.
  pkce: { required: (ctx, of) => of.clientId === 'careful' },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: may },
    revocation: { enabled: true, allowedPolicy: may },
  },
  findAccount: async (ctx, sub) => ({ accountId: sub, claims: async () => ({ sub }) }),
  rotateRefreshToken: true,
});
// What it was asked, and how it lies: each a path, and what is answered there without anything being done.
let seen = [];
let lies = {};

const issue = async ({ sub, client_id, scope = 'openid offline_access' }) => {
  const of = await provider.Client.find(client_id);
  const grant = new provider.Grant({ accountId: sub, clientId: client_id });
  grant.addOIDCScope(scope);
  const grantId = await grant.save();
  const common = { accountId: sub, client: of, clientId: client_id, grantId, scope, gty: 'authorization_code' };
  const refresh = await new provider.RefreshToken({ ...common, rotations: 0, iiat: Math.floor(Date.now() / 1000) }).save();
  const access = await new provider.AccessToken(common).save();
  return { refresh_token: refresh, access_token: access };
};

const read = async (request) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text ? JSON.parse(text) : {};
};

provider.use(async (ctx, next) => {
  if (ctx.path === '/lab/issue') ctx.body = await issue(await read(ctx.req));
  else if (ctx.path === '/lab/lies') { lies = await read(ctx.req); seen = []; ctx.body = {}; }
  else if (ctx.path === '/lab/seen') ctx.body = seen;
  else {
    seen.push(`${ctx.method} ${ctx.path}`);
    const lie = lies[ctx.path];
    if (lie === 'hang') { ctx.respond = false; return; }
    if (lie) { ctx.status = lie.status; ctx.set(lie.headers ?? {}); ctx.body = lie.body ?? ''; return; }
    if (ctx.path === '/mcp') {
      const token = await provider.AccessToken.find((ctx.get('authorization') || '').replace(/^Bearer /, ''));
      if (token) { const { id } = await read(ctx.req); ctx.body = { jsonrpc: '2.0', id, result: { tools: [] } }; }
      else { ctx.status = 401; ctx.set('WWW-Authenticate', 'Bearer error="invalid_token"'); }
      return;
    }
    await next();
  }
});
provider.on('server_error', (ctx, error) => console.error(error));
provider.listen(Number(port), '127.0.0.1', () => console.log('up'));
