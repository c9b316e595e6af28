# The manifests of packaging/kubernetes/, against Kubernetes' schemas and each
# other; and the same with a mistake in them, which must be found. That the
# ConfigMap's configuration serves is in t/image.t.

use strict;
use warnings;

use lib 't/lib';

use JSON::PP qw(decode_json);
use Test::More;
use Token::Util qw($ROOT need_npm slurp spew work_dir);

need_npm('kubernetes-models', '@kubernetes-models/prometheus-operator', 'yaml');

my @FILES = qw(configmap.yaml secret.yaml deployment.yaml service.yaml
    prometheus-operator/podmonitor.yaml);

# What is changed, into what, and what is wrong then.
my @MISTAKES = (
    ['replicas: 2', 'replicas: two', qr{/spec/replicas must be }],
    ['replicas: 2', 'replica: 2', qr{/spec/replica is unknown}],
    ['drop:', 'dropped:', qr{/capabilities/dropped is unknown}],
    ['fsGroup: 10001', 'fsgroup: 10001', qr{/fsgroup is unknown}],
    ['periodSeconds: 5', 'periodSeconds: 5s', qr{/periodSeconds must be }],
    ['kind: PodMonitor', 'kind: ServiceMonitor', qr{is unknown|must have}],
    ['apiVersion: apps/v1', 'apiVersion: v1', qr{no Deployment in v1}],
    ['        fsGroup: 10001', '', qr{the group of the worker}],
    ['0440', '0444', qr{the group of the worker}],
    ['0440', '440', qr{the group of the worker}],
    ['secretName: token-client', 'secretName: token', qr{those of the Secret}],
    ['file:/run/secrets/token/secret', 'file:/run/secrets/secret', qr{those of the Secret}],
    ['mountPath: /etc/nginx/token', 'mountPath: /etc/nginx', qr{where the image looks}],
    ['targetPort: http', 'targetPort: status', qr{the port of tokens}],
    ['runAsNonRoot: true', 'runAsNonRoot: false', qr{"restricted"}],
    ['readOnlyRootFilesystem: true', 'readOnlyRootFilesystem: false', qr{read-only}],
    ['prometheus.io/port: "8081"', 'prometheus.io/port: "8080"', qr{the port of the status}],
    ["              port: status\n            periodSeconds: 10",
        "              port: http\n            periodSeconds: 10", qr{livenessProbe}],
    ['mountPath: /tmp', 'mountPath: /var/tmp', qr{/tmp}],
);

my %text = map { $_ => slurp("$ROOT/packaging/kubernetes/$_") } @FILES;
my $dir = work_dir();

plan(tests => 2 + @MISTAKES);

is(join(' ', sort map { s{^\Q$ROOT\E/packaging/kubernetes/}{}r }
    glob "$ROOT/packaging/kubernetes/{*,*/*}.yaml"), join(' ', sort @FILES),
    'all files are looked at');

my @folders = ("$ROOT/packaging/kubernetes");

for (@MISTAKES) {
    my ($from, $to) = @$_;
    my $folder = "$dir/" . @folders;
    my $changed = 0;

    mkdir $folder;
    mkdir "$folder/prometheus-operator";
    push @folders, $folder;

    for my $file (@FILES) {
        $changed += (my $text = $text{$file}) =~ s/\Q$from\E(?=\s|;|$)/$to/;
        spew("$folder/$file", $text);
    }

    die "\"$from\" is nowhere\n" if !$changed;
}

my @problems = do {
    local $ENV{NODE_PATH} = "$ROOT/t/node_modules";

    open my $node, '-|', 'node', "$ROOT/t/kubernetes/check.js", @folders
        or die "node: $!\n";
    map { decode_json($_) } <$node>;
};

die "node has ended early\n" if @problems != @folders;

is_deeply(shift @problems, [], 'kubectl apply -f packaging/kubernetes/: nothing is wrong');

for (@MISTAKES) {
    my ($from, $to, $message) = @$_;

    like("@{ shift @problems }", $message, "\"$to\" in place of \"$from\" is found" =~ s/\s+/ /gr);
}
