// What is wrong with the manifests of a folder: one line of JSON for each folder
// that is named, a list of texts.
//
// Kubernetes' own schemas (npm's kubernetes-models) tell types and what must be
// there. They let pass what they do not know, which the API server drops: a key
// that the schemas have not asked for is unknown.

'use strict';

const fs = require('fs');
const path = require('path');
const YAML = require('yaml');

const models = {
    ...require('kubernetes-models/v1'),
    ...require('kubernetes-models/apps/v1'),
    ...require('@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'),
};


// A copy of a value that remembers which of its keys have been asked for.
function watch(value, where, asked) {
    if (value === null || typeof value !== 'object')
        return value;

    return new Proxy(value, {
        get(target, key) {
            if (typeof key !== 'string' || !Object.hasOwn(target, key))
                return target[key];

            asked.add(`${where}/${key}`);
            return watch(target[key], `${where}/${key}`, asked);
        },
    });
}


function keys(value, where = '') {
    if (value === null || typeof value !== 'object')
        return [];

    return Object.keys(value).flatMap(
        key => [`${where}/${key}`, ...keys(value[key], `${where}/${key}`)]);
}


// One object alone.
function schema(object, problems) {
    const model = models[object.kind];
    const asked = new Set();

    if (!model || new model().apiVersion !== object.apiVersion) {
        problems.push(`no ${object.kind} in ${object.apiVersion}`);
        return;
    }

    try {
        model.prototype.validate.call(watch(object, '', asked));
    } catch (error) {
        problems.push(`${object.kind}: ${error.message}`);
        return;
    }

    for (const key of keys(object))
        if (!asked.has(key))
            problems.push(`${object.kind}: ${key} is unknown`);
}


// What the objects have to do with each other, and what the Pod Security
// Standard "restricted" wants.
function together(all, problems) {
    const found = (kind, name) => all.find(
        object => object.kind === kind && (!name || object.metadata.name === name));
    const must = (condition, what) => { if (!condition) problems.push(what); };

    const deployment = found('Deployment');
    const service = found('Service');
    const monitor = found('PodMonitor');

    if (!deployment || !service) {
        problems.push('no Deployment, or no Service');
        return;
    }

    const { template, selector } = deployment.spec;
    const pod = template.spec;
    const [container] = pod.containers;
    const ports = Object.fromEntries(container.ports.map(port => [port.name, port.containerPort]));
    const has = (labels, wanted) => wanted && Object.entries(wanted).every(([k, v]) => labels[k] === v);

    must(has(template.metadata.labels, selector.matchLabels), 'the Deployment selects its pods');
    must(has(template.metadata.labels, service.spec.selector), 'the Service selects the pods');
    must(service.spec.ports.every(port => ports[port.targetPort] === 8080),
        'the Service leads to the port of tokens, and to no other');
    must(template.metadata.annotations['prometheus.io/port'] === String(ports.status),
        'Prometheus asks the port of the status');

    if (monitor) {
        must(has(template.metadata.labels, monitor.spec.selector.matchLabels),
            'the PodMonitor selects the pods');
        must(monitor.spec.podMetricsEndpoints.every(end => ports[end.port]),
            'the PodMonitor asks a port of the pods');
    }

    for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe'])
        must(ports[container[probe]?.httpGet?.port] === 8081, `the ${probe} asks the status`);

    const mounts = Object.fromEntries(container.volumeMounts.map(mount => [mount.name, mount]));

    must(pod.volumes.length === container.volumeMounts.length
        && pod.volumes.every(volume => mounts[volume.name]), 'each volume is mounted');

    for (const volume of pod.volumes) {
        const mount = mounts[volume.name] ?? {};

        if (volume.configMap) {
            const map = found('ConfigMap', volume.configMap.name);

            must(map?.data['nginx.conf'] && mount.mountPath === '/etc/nginx/token',
                'the ConfigMap is where the image looks for nginx.conf');

        } else if (volume.secret) {
            const secret = found('Secret', volume.secret.secretName);
            const conf = found('ConfigMap')?.data['nginx.conf'] ?? '';
            const files = [...conf.matchAll(/file:([^;\s]+)/g)].map(match => match[1]);
            const names = Object.keys(secret?.stringData ?? {});

            must(files.length === 2 && files.every(file =>
                path.dirname(file) === mount.mountPath && names.includes(path.basename(file))),
                'the files that nginx reads are those of the Secret');
            must(volume.secret.defaultMode === 0o440
                && pod.securityContext.fsGroup === pod.securityContext.runAsGroup,
                'the group of the worker can read the secret, and others cannot');

        } else {
            must(volume.emptyDir && mount.mountPath === '/tmp', 'nginx can write to /tmp');
        }
    }

    must(pod.securityContext.runAsNonRoot === true && pod.securityContext.runAsUser > 0
        && pod.securityContext.seccompProfile?.type === 'RuntimeDefault'
        && container.securityContext.allowPrivilegeEscalation === false
        && String(container.securityContext.capabilities?.drop) === 'ALL',
        'the pod is "restricted"');
    must(container.securityContext.readOnlyRootFilesystem === true, 'the root is read-only');
    must(container.resources.requests && container.resources.limits?.memory,
        'the container has requests and a limit of memory');
    must(pod.terminationGracePeriodSeconds > 30, 'requests have time to end');
}


for (const folder of process.argv.slice(2)) {
    const files = fs.readdirSync(folder, { recursive: true })
        .map(name => path.join(folder, name))
        .filter(name => name.endsWith('.yaml'));
    const problems = [];

    // as Kubernetes reads it: 0440 is octal
    const all = files.flatMap(file => YAML.parseAllDocuments(
        fs.readFileSync(file, 'utf8'), { version: '1.1' }))
        .map(document => {
            problems.push(...document.errors.map(error => error.message));
            return document.toJS();
        });

    for (const object of all)
        schema(object, problems);

    if (!problems.length)
        together(all, problems);

    console.log(JSON.stringify(problems));
}
