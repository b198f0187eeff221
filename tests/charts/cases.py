"""The deployments that everything is checked on."""

from tests.charts.rendering import Values, file_values, merged

APIS = [
    *("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1", "keda.sh/v1alpha1", "cert-manager.io/v1"),
    "ray.io/v1",
]

RDMA_NODE = merged(
    file_values("values-rdma.yaml"), {"model": {"name": "qwen3-8b", "pvc": {"claimName": "models", "path": "Qwen3-8B"}}}
)

TWO_GPU_TYPES: Values = {
    "model": {"name": "qwen3-8b", "source": "hf", "hf": {"repository": "Qwen/Qwen3-8B", "revision": "b968826"}},
    "huggingFace": {"existingSecret": "hf"},
    "poolDefaults": {"settings": {"transports": ["ucx"]}, "rdma": {"resourceName": "rdma/hca", "count": 1}},
    "pools": [
        {"name": "prefill-h200", "role": "prefill", "replicas": 2, "gpu": {"count": 1, "type": "H200"}},
        {
            "name": "decode-h100",
            "role": "decode",
            "replicas": 4,
            "gpu": {"count": 1, "type": "h100"},
            "settings": {"maxNumSequences": 128, "kvMemoryBytes": "60GiB"},
        },
        {
            "name": "spare",
            "role": "mixed",
            "replicas": 1,
            "gpu": {"count": 1, "type": "h100"},
            "nodeSelector": {"zone": "b"},
        },
    ],
}

IMAGES: Values = {
    "model": {"name": "qwen2.5-vl-7b", "source": "hf", "hf": {"repository": "Qwen/Qwen2.5-VL-7B-Instruct"}},
    "scheduler": {"groups": ["default", "long"], "scaling": {"enabled": True}},
    "poolDefaults": {
        "gpu": {"count": 1, "type": "h200"},
        "rdma": {"resourceName": "rdma/hca", "count": 1},
        "settings": {"transports": ["ucx"], "kvMemoryBytes": "60GiB"},
    },
    "pools": [
        {"name": "vision", "role": "encoder", "replicas": 2, "gpu": {"count": 1, "type": "h100"}, "port": 9020},
        {"name": "vision-long", "role": "encoder", "replicas": 1, "group": "long"},
        {"name": "prefill", "role": "prefill", "replicas": 3},
        {"name": "decode", "role": "decode", "replicas": 2},
        {"name": "mixed-long", "role": "mixed", "replicas": 2, "group": "long"},
    ],
}

_TOLERATION = {"key": "dedicated", "operator": "Equal", "value": "penstock", "effect": "NoSchedule"}
_AUTOSCALING = {"kind": "keda", "prometheusUrl": "http://prometheus:9090", "query": "sum(vllm:num_requests_waiting)"}
_PLACEMENT: Values = {
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [_TOLERATION],
    "topologySpread": ["kubernetes.io/hostname", "topology.kubernetes.io/zone"],
    "priorityClassName": "serving",
}

EVERYTHING_ON: Values = {
    "assumedApis": APIS,
    "commonLabels": {"team": "inference"},
    "images": {"registry": "registry.example.com/team", "pullSecrets": ["pull"]},
    "model": {
        "name": "llama",
        "source": "oci",
        "oci": {"reference": "registry.example.com/llama:1", "secretName": "registry", "image": "oras:1.2.3"},
        "cache": {"sizeLimit": "200Gi"},
    },
    "huggingFace": {"token": "hf_secret"},
    "auth": {"apiKeys": ["first", "second"]},
    "tls": {"enabled": True, "certManager": {"enabled": True}},
    "gateway": {
        **_PLACEMENT,
        "ingress": {"enabled": True, "className": "nginx", "hosts": ["llm.example.com"], "tlsSecretName": "llm-tls"},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["llm.example.com"]},
        "autoscaling": {"kind": "hpa", "maxReplicas": 6},
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
    },
    "scheduler": {
        "groups": ["default", "long"],
        "scaling": {"enabled": True, "createEvents": True},
        "rayWorkers": {"replicas": 2},
        "kubeRay": {"enabled": True, "rayVersion": "2.60.0"},
    },
    "pools": [
        {"name": "prefill", "role": "prefill", "replicas": 2, "gpu": {"count": 1, "type": "h200"}, **_PLACEMENT},
        {
            "name": "decode",
            "role": "decode",
            "replicas": 2,
            "group": "long",
            "gpu": {"count": 1},
            "rdma": {"resourceName": "rdma/hca", "count": 2},
            "hostNetwork": True,
            "port": 9010,
            "metricsPort": 9410,
            "strategy": {"maxSurge": "25%", "maxUnavailable": 0},
            "runtimeClassName": "nvidia",
            "podAnnotations": {"k8s.v1.cni.cncf.io/networks": "default/rdma"},
            "podLabels": {"tier": "gold"},
            "extraEnv": [{"name": "UCX_NET_DEVICES", "value": "mlx5_0:1"}],
            "model": {"name": "llama-awq", "source": "s3", "s3": {"uri": "s3://models/llama-awq", "secretName": "s3"}},
        },
    ],
    "networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"team": "web"}}}]},
    "tracing": {"endpoint": "http://collector.observability:4318"},
    "monitoring": {
        "labels": {"release": "prometheus"},
        "serviceMonitor": {"enabled": True},
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True},
    },
}

SCALED_BY_KEDA: Values = {
    "assumedApis": APIS,
    "gateway": {"autoscaling": _AUTOSCALING},
    "pools": [
        {"name": "mixed", "role": "mixed", "replicas": 2, "autoscaling": {**_AUTOSCALING, "threshold": "8"}},
        {"name": "spare", "role": "mixed", "replicas": 1, "autoscaling": {"kind": "hpa"}},
    ],
}

EVERYTHING_OFF: Values = {
    "pools": [],
    "networkPolicy": {"enabled": False},
    "disruptionBudget": {"enabled": False},
    "gateway": {"topologySpread": [], "replicas": 1},
}

CASES: dict[str, Values] = {
    "defaults": {},
    "cpu laptop": file_values("values-cpu.yaml"),
    "8xH200 with RDMA": RDMA_NODE,
    "three pools of two GPU types": TWO_GPU_TYPES,
    "encoders for two groups": IMAGES,
    "everything optional on": EVERYTHING_ON,
    "scaled by KEDA": SCALED_BY_KEDA,
    "everything optional off": EVERYTHING_OFF,
}
