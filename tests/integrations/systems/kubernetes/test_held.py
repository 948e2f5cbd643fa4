"""Every secret that a server's pods hold is named, however it comes to them, and none is read."""

from typing import Any

from integrations.systems.kubernetes.held import secrets

ACCOUNT = {
    "metadata": {"name": "weather", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/weather"}},
    "secrets": [{"name": "weather-legacy"}],
    "imagePullSecrets": [{"name": "registry-of-account"}],
}
SPEC: dict[str, Any] = {
    "serviceAccountName": "weather",
    "imagePullSecrets": [{"name": "registry"}],
    "volumes": [
        {"name": "tls", "secret": {"secretName": "weather-tls"}},
        {"name": "share", "azureFile": {"secretName": "share"}},
        {"name": "disk", "cephfs": {"monitors": [], "secretRef": {"name": "ceph"}}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"secret": {"name": "one-of-several"}},
                    {"serviceAccountToken": {"audience": "vault", "path": "token"}},
                    {"configMap": {"name": "no-secret"}},
                ]
            },
        },
        {
            "name": "store",
            "csi": {
                "driver": "secrets-store.csi.k8s.io",
                "volumeAttributes": {"secretProviderClass": "upstream"},
                "nodePublishSecretRef": {"name": "store-login"},
            },
        },
        {"name": "scratch", "emptyDir": {}},
    ],
    "initContainers": [{"name": "migrate", "envFrom": [{"secretRef": {"name": "database"}}]}],
    "containers": [
        {
            "name": "server",
            "env": [
                {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "weather-api", "key": "key"}}},
                {"name": "DATABASE_URL", "value": "postgres://u:hunter2@db/x"},
                {"name": "LANGUAGE", "value": "ko"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
        }
    ],
}


def test_each_is_named_once_with_how_it_is_held_and_none_of_its_bytes() -> None:
    rows = secrets([{"spec": SPEC}, {"spec": SPEC}], [ACCOUNT])
    assert rows == [
        "a token of its account for vault, mounted as volume all",
        "key key of secret weather-api, as variable API_KEY of container server",
        "secret ceph, mounted as volume disk",
        "secret database, each key of it a variable of container migrate",
        "secret one-of-several, mounted as volume all",
        "secret registry, with which its images are pulled",
        "secret registry-of-account, with which images of service account weather are pulled",
        "secret share, mounted as volume share",
        "secret store-login, mounted as volume store",
        "secret weather-legacy, of service account weather",
        "secret weather-tls, mounted as volume tls",
        "the token of service account weather",
        "variable DATABASE_URL, whose value is written in the workload (if it is a secret) of container server",
        "what SecretProviderClass upstream fetches (secrets-store.csi.k8s.io), mounted as volume store",
        "what its cloud gives service account weather: arn:aws:iam::1:role/weather",
    ]


def test_who_is_given_no_token_has_none_and_who_says_nothing_has_the_default_accounts() -> None:
    assert secrets([{"spec": {"automountServiceAccountToken": False}}], []) == []
    silent = {"metadata": {"name": "default"}, "automountServiceAccountToken": False}
    assert secrets([{"spec": {}}], [silent]) == []
    assert secrets([{"spec": {"automountServiceAccountToken": True}}], [silent]) == [
        "the token of service account default"
    ]


def test_a_hostile_name_stays_one_line_and_an_empty_pod_is_no_error() -> None:
    spec = {"automountServiceAccountToken": False, "imagePullSecrets": [{"name": "a\nb\x1b[2J"}]}
    (row,) = secrets([{"spec": spec}], [])
    assert row.isprintable()
    assert secrets([{}], []) == ["the token of service account default"]
