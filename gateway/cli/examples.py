"""Examples of the commands, for the end of their help and for docs/commands.md."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("lineside demo", "lineside demo --for 20s --report report.json --data demo"),
    "run": ("lineside run factory.yaml", "lineside run factory.yaml --trace --log json"),
    "reload": ("lineside reload factory.yaml", "lineside reload factory.yaml --wait 2m --format json"),
    "ingest": ("lineside ingest factory.yaml",),
    "dashboard": (
        "lineside dashboard factory.yaml",
        "lineside dashboard tire.yaml appliance.yaml --listen 127.0.0.1:9000",
    ),
    "simulate": (
        "lineside simulate factory.yaml --ports auto --write here.yaml",
        "lineside simulate factory.yaml --fault press-03:bladder_leak@120s+5m",
        "lineside simulate --faults --format json",
    ),
    "init": ("lineside init --out plant", "lineside init --yes --out plant --machine press-01"),
    "validate": ("lineside validate factory.yaml", "lineside validate factory.yaml --strict --format json"),
    "sign": ("lineside sign factory.yaml --key anna.pem",),
    "show": ("lineside show factory.yaml --machine press-05", "lineside show factory.yaml --format yaml"),
    "schema": ("lineside schema factory",),
    "import": ("lineside import points.csv --out plant --enterprise acme --site north",),
    "export-points": ("lineside export-points factory.yaml --out points.csv",),
    "plan": ("lineside plan factory.yaml --requests",),
    "check": (
        "lineside check factory.yaml",
        "lineside check factory.yaml --machine press-05 --for 5s --all",
        "lineside check factory.yaml --simulated --for 10s --junit check.xml",
    ),
    "browse": (
        "lineside browse opc.tcp://10.20.2.21:4840 --endpoints",
        "lineside browse opc.tcp://10.20.2.21:4840 --under /Press --template p.yaml",
    ),
    "probe": (
        "lineside probe modbus+tcp://10.20.1.11:502 --template meter.yaml",
        "lineside probe modbus+tcp://10.20.1.11:502 --area 'holding 40000..40199'",
        "lineside probe 'modbus+tcp://10.20.1.11:502?unit=1' --register 'holding 10'",
    ),
    "tail": ("lineside tail factory.yaml 'press-01/*'",),
    "query": (
        "lineside query factory.yaml 'press-01/*' --last 1h",
        "lineside query factory.yaml 'oven*' --last 7d --every 1h --function max",
        "lineside query factory.yaml --newest --format csv",
    ),
    "export": ("lineside export factory.yaml 'press-*' --last 7d --out parquet",),
    "certs list": ("lineside certs list factory.yaml",),
    "certs trust": ("lineside certs trust factory.yaml 1f6a3c",),
    "certs reject": ("lineside certs reject factory.yaml 1f6a3c",),
    "spool status": ("lineside spool status factory.yaml",),
    "spool export": ("lineside spool export factory.yaml --out records.jsonl",),
    "spool adopt": ("lineside spool adopt factory.yaml --from edge-01",),
    "spool dead-letters": ("lineside spool dead-letters factory.yaml",),
    "ledger": ("lineside ledger factory.yaml --format json",),
    "health": ("lineside health factory.yaml", "lineside health /var/lib/lineside --format json"),
    "status": ("lineside status factory.yaml", "lineside status factory.yaml --format json"),
    "fleet": ("lineside fleet factory.yaml", "lineside fleet factory.yaml --watch --every 5s"),
    "diagnose": (
        "lineside diagnose factory.yaml",
        "lineside diagnose factory.yaml --log-file gateway.log --out ticket.tar.gz",
    ),
    "self-test": ("lineside self-test factory.yaml", "lineside self-test factory.yaml --format json"),
    "backup": (
        "lineside backup factory.yaml /mnt/backup/edge-01.tar.gz",
        "lineside backup factory.yaml /mnt/backup/edge-01.tar.gz --secrets",
    ),
    "restore": (
        "lineside restore edge-01.tar.gz --check",
        "lineside restore edge-01.tar.gz --secrets /etc/lineside/secrets",
    ),
    "decommission": (
        "lineside decommission factory.yaml --list",
        "lineside decommission factory.yaml --retained --yes",
    ),
    "users list": ("lineside users list factory.yaml",),
    "users add": ("lineside users add factory.yaml anna --role operator",),
    "users remove": ("lineside users remove factory.yaml anna",),
    "users role": ("lineside users role factory.yaml anna --role engineer",),
    "users password": ("lineside users password factory.yaml anna --password-stdin < password",),
    "users disable": ("lineside users disable factory.yaml anna",),
    "users enable": ("lineside users enable factory.yaml anna",),
    "audit verify": ("lineside audit verify factory.yaml",),
    "audit show": (
        "lineside audit show factory.yaml --last 1d",
        "lineside audit show factory.yaml --who anna --action 'user-*' --format json",
    ),
    "completion": ('eval "$(lineside completion bash)"', "lineside completion fish | source"),
}
"""Each listed command by its words, with lines that fit a terminal of 80 columns."""
