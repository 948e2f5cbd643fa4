"""The files that `init` writes. What they say is what holds without them; the tests compare."""

_SETTINGS = """\
# The installation. Every field has a default, the one that stands here. Paths are taken from this folder.
version: 1

# This machine's name in claims and custody records: another one for each responder.
responder: responder-1

# The key that signs journal and evidence (Ed25519, PEM, mode 0600), and the public keys of all responders that there
# are or ever were. Keep old public keys: without them old entries cannot be verified.
key: keys/responder.key
responders:
  - keys/responder.pub

journal:
  # One machine: SQLite. Several: PostgreSQL, with its password in the environment.
  url: sqlite:///state/journal.db
  # url: postgresql://soar@db.example.com/soar
  # password: {env: SOAR_JOURNAL_PASSWORD}

vault:
  path: state/vault
  bundles: state/bundles
  # Bytes on the disk that evidence leaves free, so that the journal always has room.
  reserve: 268435456
  # Bytes of one exhibit: of what is larger that much is kept, and said to be incomplete.
  most: 4294967296
  # Exhibits in a bucket with Object Lock instead of the folder (docs/keep-evidence-on-s3.md).
  # s3:
  #   bucket: acme-evidence
  #   region: eu-central-1
  #   # How long nobody can delete what is sealed, not even who owns the account: nobody can take it back.
  #   lock: 90d
  #   prefix: soar/
  #   # The account that owns the bucket: another one's of that name is refused.
  #   owner: "123456789012"
  #   # Another store that speaks S3.
  #   endpoint: https://minio.example.com
  #   # Left out, they are found as boto3 finds them: environment, profile, the machine's role.
  #   access_key: {env: SOAR_VAULT_KEY}
  #   secret_key: {env: SOAR_VAULT_SECRET}

receiver:
  # Off 127.0.0.1 it needs a certificate; then senders may use bearer tokens too.
  host: 127.0.0.1
  port: 8765
  # certificate: tls/receiver.pem
  # key: tls/receiver.key
  # At once; each may hold a message of 1 MiB in memory. Of those, how many one address may have; not this machine's.
  connections: 400
  per_peer: 100
  # The key by which responders know what receivers put in; made when it is not there.
  stamp: keys/receiver.stamp
  # Its own account at PostgreSQL, which CREATE ROLE soar_receiver LOGIN PASSWORD '...' makes; `mcp-soar up` sees to it
  # that it can put into the inbox and do nothing else.
  # account: {user: soar_receiver, password: {env: SOAR_RECEIVER_PASSWORD}}

prefect:
  # Without an address `mcp-soar up` starts a server of its own on 127.0.0.1 with a generated password.
  # api: https://prefect.example.com/api
  # auth: {env: SOAR_PREFECT_AUTH}
  port: 4200
  # Flow runs at a time; 2 is what SQLite bears.
  concurrency: 2
  # Whose work `mcp-soar up` does: `requests`, the forms, and `reading`, the schedules. [] for none; without it both at
  # our own server, and none at another one. Each worker takes some 120 MB.
  # pools: [requests, reading]
  # A worker does not run where Linux' Landlock cannot keep it from keys, unless this says so.
  unconfined: false
  # Their accounts at PostgreSQL: the forms' may put in what people sign, the schedules' may read (docs/production.md).
  # workers: {user: soar_worker, password: {env: SOAR_WORKER_PASSWORD}}
  # readers: {user: soar_reader, password: {env: SOAR_READER_PASSWORD}}
"""

_INVENTORY = """\
# What exists and where it can be touched. An alert's names are looked up here before anything is done, and what is not
# here is never guessed at. `mcp-soar inventory import main --url URL --user ADMINISTRATOR` puts in what a gateway has,
# and leaves alone what you write; `mcp-soar inventory check` says what is missing.
version: 1

# How often a containment in force is looked at again, and the share of a gateway's time (0.01 to 0.5) that it may take
# to ask as a client about all that are in force there, one in its turn after the other: `mcp-soar doctor` says how
# often that is.
watch_every: 60s
watch_share: 0.1

# Systems that we may act on, each of a kind. Of a gateway, the canary is an ordinary client of ours that asks whether
# something can be reached.
systems: {}
#  main:
#    kind: contextforge
#    url: https://gateway.example.com
#    user: soar@example.com
#    password: {file: secrets/gateway-password}
#    canary:
#      principal: canary@example.com
#      token: {file: secrets/canary-token}
#      url: https://gateway.example.com/mcp/
#    # Ids at the gateway of our own credentials: never a target.
#    credential_ids: [0b9d1a2c]
#    # Workers times replicas: each remembers for a minute which tools it looked up, so that a cut is established when
#    # all have forgotten. Left out, those are counted that show.
#    processes: 1
#    # TOOL_LOOKUP_CACHE_TTL_SECONDS of the gateway, if it is another than that minute.
#    remembers: 60s

servers: {}
#  weather:
#    title: Weather
#    aliases: [weather-mcp]
#    url: https://weather.example.com/mcp
#    # Instead of url, for one that speaks over stdio. Whoever asks it runs it, on this machine and without our secrets.
#    # command: [uvx, weather-mcp]
#    owner: weather-team
#    # low, medium, high, critical
#    criticality: medium
#    # dev, test, prod
#    environment: prod
#    # Never contained without a person.
#    protected: false
#    # Something in the real world moves: never automatic.
#    physical_effects: false
#    # A harmless tool whose call proves that the path works.
#    control_tool: add
#    # safe_arguments: a call with these changes nothing. No other call is ever made at the server itself.
#    tools:
#      add: {risk: low, safe_arguments: {a: 1, b: 2}}
#    # What its gateway held, name and id, as an import found it: alerts may name it, and nothing of it is approved.
#    offers: {tools: {add: 6018ca46}}
#    # Where it stands: its entry at its gateway, by the name of the system.
#    places: {main: {id: 3f2a9c}}
#    # What it stands on, as alerts name it that know no server (docs/connect-a-siem.md).
#    found_by: {workload: [prod/weather], image: [ghcr.io/acme/weather]}
#    # Who is told of it, where contacts.yaml says otherwise: role, contact.
#    # stakeholders: {owner: weather-team}
#    # What it handles (personal, health, payment, secret), and the laws that then set a time to report (gdpr, pipa,
#    # nis2). Clocks run for an incident only where both are written.
#    data: [personal]
#    regimes: [gdpr]

# Users and agents, and where each is known; at a gateway with its user and the ids of its tokens.
principals: {}
#  agent-weather:
#    title: Weather agent
#    # Never cut without a person.
#    protected: false
#    places:
#      main:
#        user: agent-weather@example.com
#        tokens: {agent: 7c1e0f}
#        # Those of them that its owner gave us: a cut is then asked about as this principal itself.
#        held: {agent: {file: secrets/agent-token}}
"""

_SOURCES = """\
# Who may send alerts, how each proves who it is, and which class its alerts are. What an alert says of its own
# importance or confidence counts for nothing.
version: 1

sources:
  # Whatever can be told what to send: POST /v1/alerts/generic, signed as Standard Webhooks says.
  generic:
    # falco, elastic, ocsf, alertmanager or generic: docs/connect-a-siem.md says how each product is set up
    format: generic
    authentication:
      # The first signs what `mcp-soar alert send` sends; a second one is accepted too, while it is being rotated.
      hmac: {secrets: [{file: secrets/generic}]}
      window: 300s
    # How far it is believed: low, medium, high.
    confidence: medium
    # The first that matches counts: by rule, by tag, or by a part of the title.
    classify:
      - {tag: tool_poisoning, class: tool_poisoning}
      - {rule: Tool description changed, class: tool_poisoning}
    # What nothing matches waits for a person.
    default_class: unclassified

# Others, by product; docs/connect-a-siem.md says what is set there. A bearer token is any long random text, in a file
# of its own (mode 0600): openssl rand -hex 32. Off 127.0.0.1 it needs TLS: receiver.certificate in mcp-soar.yaml.
#  falco:
#    format: falco
#    authentication: {bearer: {secrets: [{file: secrets/falco}]}}
#    confidence: high
#    # The rule as Falco names it; the tool's name in its output fields or tags.
#    classify: [{rule: MCP tool definition changed, class: tool_poisoning}]
#  elastic:
#    format: elastic
#    authentication: {bearer: {secrets: [{file: secrets/elastic}]}}
#    confidence: high
#    classify:
#      - {rule: MCP tool definition changed, class: tool_poisoning}
#      - {tag: MCP access, class: unauthorized_access}
#  securityhub:
#    format: ocsf
#    authentication: {bearer: {secrets: [{file: secrets/securityhub}]}}
#    confidence: medium
#    # A part of the title; prefer a rule or a tag where an attacker writes the title.
#    classify: [{title_contains: exfiltration, class: data_exfiltration}]
#  alertmanager:
#    format: alertmanager
#    authentication: {bearer: {secrets: [{file: secrets/alertmanager}]}}
#    confidence: medium
#    # Each label is a tag.
#    classify: [{tag: alertname=McpToolDefinitionChanged, class: tool_poisoning}]
#  # What our own checks find, `mcp-soar check`, comes by this name: definitions that differ from their pins, and what
#  # brings its class with it.
#  drift:
#    format: generic
#    # `whsec_` and the base64 of 32 random bytes.
#    authentication: {hmac: {secrets: [{file: secrets/drift}]}}
#    confidence: high
#    classify: [{tag: definition-differs, class: tool_poisoning}]
#  # Proves nothing: opens incidents and runs read-only steps, and is never believed further than this.
#  lab:
#    format: generic
#    authentication: none
#    confidence: low
"""

_POLICY = """\
# The gate: what may be done at once, and what needs people. These are the defaults; it fails closed.
version: 1

# What may be done without a person: automatic, or approve. The first rule that fits decides; what fits none, a person
# does. A rule may name class, action (gateway.disable_tool), system (gateway), and of the server that is touched its
# environment and criticality, one or a list of each; what it does not name is any. `mcp-soar plan` says which decides.
rules:
  - {class: [tool_poisoning, prompt_injection, data_exfiltration], mode: automatic}
# Above that one, this would ask a person about whatever is critical in production:
#  - {environment: prod, criticality: [high, critical], mode: approve}
# With automatic_up_to and a cap for `server`, this would cut off whole servers of developers:
#  - {class: server_compromise, environment: dev, mode: automatic, up_to: server}

# The widest that is ever automatic, whatever a rule says: token, tool, principal, server (never fleet).
automatic_up_to: tool

# One of these has to be met: how far the source is believed, and how bad it is, at least.
tiers:
  - {confidence: high, severity: medium}
  - {confidence: medium, severity: high}
  - {confidence: low, severity: critical}

# How much may be contained automatically at one time, over all incidents: objects, and percent of those that there are.
# One is always within the percentage.
caps:
  token: {count: 5, percent: 20}
  tool: {count: 5, percent: 20}

# How fast automatic effects may follow one another, over all incidents.
spacing: {at_most: 10, within: 60s}

approval:
  # People needed, by what the plan touches.
  quorum: {token: 1, tool: 1, principal: 1, server: 1, fleet: 2}
  # Any of these roles may approve; whoever asked for something never counts.
  roles: [approver]
  # Time to decide. After it the answer is no, and somebody is paged.
  expires: 15m

lease:
  # extend (and page), or release where the last verification was clean.
  at_expiry: extend
  # How often what somebody undid is put back without asking.
  put_backs: 3
  # How far from now `mcp-soar extend` may put its end.
  longest: 30d

release:
  # From this on another person has to agree to a release: token, tool, principal, server, fleet.
  second_person_from: principal
  # Any of these roles may release.
  roles: [responder, approver]

intake:
  # Open incidents about what the inventory does not know, of one class and source; what comes beyond meets in one.
  unknown: 10

suppression:
  # How long `mcp-soar suppress` may keep a source's or a rule's alerts from opening incidents.
  longest: 7d

retention:
  # How long exhibits, bundles and raw alerts are kept after their incident was closed; 30d at least. The responder then
  # deletes them and says so in the journal, which stays. Never while the incident is open or under legal hold.
  keep: 400d
  # Another length for incidents of a class, as {tool_poisoning: 730d}.
  classes: {}

review:
  # Any of these roles may sign for what servers offer (`mcp-soar pins approve`).
  roles: [reviewer]
  # How many people have to, by the definition's risk. Nothing is automatic on what fewer have signed for.
  people: {low: 1, medium: 1, high: 1}
"""

_CONTACTS = """\
# Whom to tell, and by which ways. Without any of it messages go to the log, and nothing is escalated.
# `mcp-soar message test CONTACT` shows whether they arrive.
version: 1

# What messages travel by; the log is always there.
channels: {}
#  slack:
#    bot_token: {file: secrets/slack-bot}
#    # For buttons (Socket Mode); without it there are messages only.
#    app_token: {file: secrets/slack-app}
#  email:
#    host: mail.example.com
#    port: 587
#    # starttls, tls, or none, which only 127.0.0.1 may have.
#    security: starttls
#    user: soar
#    password: {file: secrets/mail}
#    sender: soar@example.com
#    # The name to greet it with, where it wants a fully qualified one; this machine's otherwise.
#    ehlo: soar.example.com
#  webhooks:
#    # Signed as Standard Webhooks says; the secret is `whsec_` and the base64 of 24 to 64 random bytes.
#    pager: {url: "https://pager.example.com/soar", secret: {file: secrets/pager}}

# A person has the name that they are enrolled by; a team or an office any other. One-time codes go to a person's own
# address or folder, never by Slack: whoever holds its token reads what the bot wrote.
contacts: {}
#  kim:
#    slack: U012ABCDEF
#    email: kim@example.com
#    # en or ko
#    language: ko
#    # Which way is tried first; in the order slack, email, webhook, file if nothing is said.
#    ways: [slack, email]
#  lee: {email: lee@example.com}
#  # A folder, taken from this one, which gets a file (0600) for each message: to try it out without a mail server.
#  sam: {file: state/messages/sam}
#  soc: {slack: C012ABCDEF, webhook: pager}
#  weather-team: {email: weather@example.com}
#  privacy-office: {email: privacy@example.com, language: ko}

# Who is paged, one after the other, until somebody acknowledges (`mcp-soar ack`).
on_call: []
#  - {contact: kim, wait: 5m}
#  - {contact: lee, wait: 10m}

# Every message goes here too, one thread for each incident. Without it everybody on call hears what wakes nobody.
# room: soc

# Who else is told, by class of incident: security, owner, data-governance, privacy, legal; customers and regulator are
# those of yours who write to them: mcp-soar itself tells nobody outside.
stakeholders: {}
#  security: soc
#  privacy: privacy-office

# How often the on-call list is gone through; after that a page counts as unanswered, and every answer shows it.
repeat: 3
"""

FILES = {
    "mcp-soar.yaml": _SETTINGS,
    "inventory.yaml": _INVENTORY,
    "sources.yaml": _SOURCES,
    "policy.yaml": _POLICY,
    "contacts.yaml": _CONTACTS,
}

GITIGNORE = """\
# Keys, secrets and state stay on this machine; the rest is worth reviewing like code.
keys/*.key
people/
*.key
secrets/
state/
"""

README = """\
AN MCP-SOAR CONFIGURATION

  mcp-soar.yaml     where things are kept and served
  inventory.yaml    what exists, and where it can be touched
  pins.yaml         approved definitions, signed, written by `mcp-soar pins approve`
  sources.yaml      who may send alerts
  policy.yaml       what may be done at once, and what needs people
  people.yaml       who may ask for what, written by `mcp-soar enroll`
  contacts.yaml     whom to tell, and by which ways
  playbooks/        playbooks of your own; an example is there, which is in use without its .example
  messages/         templates that replace shipped ones, optional
  keys/             this responder's signing key (0600) and its public half
  secrets/          one secret a file (0600)
  state/            journal, evidence, bundles

What comes next (each with --config and this folder, unless you are in it or it is ./mcp-soar):

1. Enroll people. Approving takes an approver who did not ask for it, ending a stop takes two:
     mcp-soar enroll kim --role responder --role approver
     mcp-soar enroll lee --role approver --role reviewer
2. Have inventory.yaml filled from your gateway; it asks for the password. Then say what is marked FILL IN there:
     mcp-soar inventory import main --url https://gateway.example.com --user admin@example.com --make-canary
     mcp-soar inventory check
3. Sign for what each server offers today, after reading it; nothing is automatic on what nobody signed for:
     mcp-soar pins approve SERVER --reviewed "read every description" --as lee
4. See whether everything is reachable and permitted:
     mcp-soar doctor
5. Say who is on call in contacts.yaml, and see whether messages arrive:
     mcp-soar message test kim
6. Run it:
     mcp-soar up
7. Send a first alert, after writing one of your servers and tools into it; `plan` shows what would be done:
     mcp-soar plan alert.example.json --source generic
     mcp-soar alert send alert.example.json --source generic
     mcp-soar incidents

Each file explains itself by its comments. Guides by task (a SIEM, a playbook of your own, what is automatic): docs/ of
mcp-soar's source.

Copy keys/responder.pub somewhere else: with it anybody verifies the evidence, and only a copy from elsewhere proves
anything.
"""
