# The container image: built from packaging/Containerfile, then run read-only, as
# an unprivileged user and as process 1, as an engine for containers runs it.
#
# TEST_IMAGE=1 runs it, as root. It fetches packages of Debian and takes a minute
# or two; so it is not run otherwise.

use strict;
use warnings;
use feature qw(state);

use lib 't/lib';

use File::Find qw(find);
use HTTP::Tiny;
use JSON::PP qw(decode_json);
use MIME::Base64 qw(encode_base64);
use POSIX ();
use Test::More;
use Token::Endpoint;
use Token::Util qw($ROOT end_child free_port slurp slurp_or_empty spew
    wait_for work_dir);

my $USER = 10001;
my $LIMIT = 120;
my $ENTRYPOINT = '/usr/lib/token/entrypoint.sh';

# What may not get into the configuration. The message names the variable and
# does not show the value.
my @REFUSED = (
    [TOKEN_ENDPOINT => ''],
    [TOKEN_ENDPOINT => 'id.example.com/token'],
    [TOKEN_ENDPOINT => 'ftp://id.example.com/token'],
    map({ [TOKEN_ENDPOINT => "https://id.example.com/$_"] }
        '"; return 200 "', '; return 200', '}', '$http_x', '\\', "'",
        "\nreturn 200;", "\t", '@OPTIONS@', "\x{e9}"),
    map({ [CORS_ORIGIN => $_] }
        'app.example.com', 'https://app.example.com/path',
        'https://app.example.com"; return 200; #', 'https://a.example;',
        "https://a.example\nreturn 200;", 'https://$host', '{', "\x07", '  '),
    [TOKEN_SCOPE => "read\nwrite"],
    [TOKEN_AUTH_METHOD => 'none; return 200'],
    [TOKEN_CA_FILE => 'ca.pem'],
    [TOKEN_CA_FILE => '/ca.pem; return 200'],
    [RESOLVER => '127.0.0.1; return 200'],
    [RESOLVER => 'dns.example.com'],
    [WORKER_PROCESSES => '0'],
    [WORKER_PROCESSES => '2; user root'],
    [PORT => '0'],
    [PORT => '65536'],
    [PORT => '8080 ssl'],
    [STATUS_PORT => '8081;'],
);

plan(skip_all => 'TEST_IMAGE=1 builds the image and runs it') if !$ENV{TEST_IMAGE};
plan(skip_all => 'it needs root') if $> != 0;
plan(skip_all => 'not on Debian') if system('command -v dpkg-deb > /dev/null');
plan(tests => 38 + 2 * @REFUSED);

my $build = work_dir();

# the base is kept for the next run
my $kept = "$ROOT/build/image/base.tar";
mkdir "$build/image";
link $kept, "$build/image/base.tar" if -e $kept;

my $output = `BUILD_DIR='$build' '$ROOT/build.sh' image 2>&1`;
is($?, 0, './build.sh image') or BAIL_OUT($output);

mkdir "$ROOT/build/image";
link "$build/image/base.tar", $kept if !-e $kept;

my $root = "$build/image/root";


# What is in it.
{
    my $config = decode_json(slurp("$build/image/image.json"))->{Docker}{config};

    is($config->{User}, "$USER:$USER", 'an unprivileged user, by its number');
    is($config->{StopSignal}, 'SIGQUIT', 'it ends when requests have');
    is_deeply($config->{Entrypoint}, [$ENTRYPOINT], 'its entrypoint');
    is_deeply($config->{Healthcheck}{Test}, [CMD => '/usr/lib/token/health.sh'],
        'a health check');
    is_deeply([sort keys %{ $config->{ExposedPorts} }], ['8080/tcp', '8081/tcp'],
        'its ports');

    my ($bytes, %names) = (0);

    find({ no_chdir => 1, wanted => sub {
        my @stat = lstat;

        if (-f _ || -l _) {
            $names{ s{.*/}{}r } = 1;
            $bytes += $stat[7];
        }
    }}, "$root/");

    my $size = sprintf '%.0f', $bytes / 1e6;

    diag("the image has $size MB");
    cmp_ok($size, '<', $LIMIT, "it is below $LIMIT MB");
    cmp_ok($size, '>', 20, '... and it is there');
    is_deeply([grep { $names{$_} } qw(gcc cc c++ clang make ld as cc1 curl)], [],
        'nothing that compiles is in it');
    ok($names{'ngx_http_token_module.so'}, 'the module is');
    is(scalar(grep { /^ngx_http_token_\w+\.[ch]$/ } keys %names), 0, '... and no source');
}


my $endpoint = Token::Endpoint->new(secrets => ['old-secret'], expires_in => 2);
my $http = HTTP::Tiny->new(timeout => 10);
my %ports = (PORT => free_port(), STATUS_PORT => free_port());
my $secrets = "$build/secrets";
my @containers;

mkdir $secrets;
secret(consumer_key => 'my-key');
secret(consumer_secret => 'old-secret');


# It runs, with nothing but the endpoint's URL and the secrets.
{
    my $container = start({ TOKEN_ENDPOINT => $endpoint->url });
    my $answer = get('/token');
    my $status = slurp("/proc/$container->{nginx}/status");

    is($answer->{status}, 200, 'the image serves')
        or diag(slurp("$container->{log}.err"));
    like($answer->{content}, qr/"access_token":"AT-1"/, '... a token');
    like($status, qr/^Uid:\s+$USER\s+$USER\s/m, '... as an unprivileged user');
    like($status, qr/^CapEff:\s+0+$/m, '... without capabilities');
    like($status, qr/^NSpid:\s+\d+\s+1$/m, '... as process 1');
    is(() = in_image({}, 'touch', '/etc/x', '/usr/x') =~ /Read-only file system/g, 2,
        '... on a root that nobody can write');
    ok(serves(), 'the status has a port of its own');
    is(get('/status')->{status}, 404, '... and no other');
    is(get('/')->{status}, 404, 'nothing else is served');

    in_image(\%ports, '/usr/lib/token/health.sh');
    is($?, 0, 'it is healthy');

    like(slurp("$container->{log}.out"), qr{"GET /token" 200 MISS}, 'requests are on stdout');
    like(slurp("$container->{log}.err"), qr/start worker process/, 'messages are on stderr');

    unlike(slurp("$container->{log}.err"), qr/secret/, '... without a secret');

    $endpoint->answer(secrets => ['new-secret'], expires_in => 2);
    secret(consumer_secret => 'new-secret');

    my $changed = wait_for {
        get('/token');
        ($endpoint->requests)[-1] =~ basic('new-secret');
    } 20;

    ok($changed, 'a secret that has changed is used, without a restart');
    is(get('/token')->{status}, 200, '... for a token');

    # a request that waits while it ends
    $endpoint->answer(secrets => ['new-secret'], expires_in => 2, delay => 2);
    sleep 3;

    my $calls = $endpoint->calls;
    my $late = fork // die "fork: $!\n";

    POSIX::_exit(get('/token')->{status} == 200 ? 0 : 1) if $late == 0;
    wait_for { return $endpoint->calls > $calls };
    kill QUIT => $container->{nginx};
    waitpid $late, 0;
    is($?, 0, 'SIGQUIT: who has asked is answered');
    waitpid $container->{pid}, 0;
    is($?, 0, '... and it ends, with 0');
    @$container{qw(pid nginx)} = ();

    in_image(\%ports, '/usr/lib/token/health.sh');
    isnt($?, 0, '... and is healthy no more');
}


# All settings. What has a meaning in a configuration arrives as it is.
{
    my $scope = 'read "$host" {x}; \\n env:HOME';

    $endpoint->answer(secrets => ['env-secret']);

    my $container = start({ TOKEN_ENDPOINT => $endpoint->url('/a?b=(c)'),
        CONSUMER_KEY => 'my-key', CONSUMER_SECRET => 'env-secret',
        CORS_ORIGIN => 'https://app.example.com ~^https://pr-[0-9]{1,3}\.example\.com$',
        TOKEN_SCOPE => $scope, TOKEN_AUTH_METHOD => 'client_secret_post',
        TOKEN_CA_FILE => '/etc/ssl/certs/ca-certificates.crt',
        RESOLVER => '127.0.0.1 [::1]:53', WORKER_PROCESSES => 2 }, {});

    my @statuses = map { get('/token', Origin => $_)->{status} }
        'https://app.example.com', 'https://pr-12.example.com',
        'https://pr-1234.example.com', 'https://app.example.org';

    is("@statuses", '200 200 403 403', 'CORS_ORIGIN: those origins and no others')
        or diag(slurp("$container->{log}.err"));

    my ($sent) = ($endpoint->requests)[-1] =~ /(?:^|&)scope=([^&]*)/m;
    is(($sent // '') =~ tr/+/ /r =~ s/%(..)/chr hex $1/egr, $scope, 'TOKEN_SCOPE');

    my $workers = grep { slurp_or_empty("$_/status") =~ /^PPid:\s+$container->{nginx}$/m }
        glob '/proc/[0-9]*';
    is($workers, 2, 'WORKER_PROCESSES');

    stop($container);
}


# The configuration of the ConfigMap, with a secret as Kubernetes mounts it: a
# directory that a link leads to, files of mode 0440 of the group "fsGroup".
{
    my ($conf) = slurp("$ROOT/packaging/kubernetes/configmap.yaml")
        =~ /^  nginx\.conf: \|\n(.*)\z/ms;
    my ($url, $volume) = ($endpoint->url, "$build/volume");

    $conf =~ s{https://id\.example\.com/oauth2/token;}{$url;} or die;
    $conf =~ s{listen  8080;}{listen $ports{PORT};} or die;
    $conf =~ s{listen      8081;}{listen $ports{STATUS_PORT};} or die;

    mkdir "$build/conf";
    spew("$build/conf/nginx.conf", $conf);
    mkdir $volume;
    volume($volume, 'old', 0);

    my %mounts = ('/etc/nginx/token' => "$build/conf", '/run/secrets/token' => $volume);
    my $container = start({}, \%mounts);

    like(slurp("$container->{log}.err"), qr{\[emerg\] .*"/run/secrets/token/key".*Permission denied},
        'Kubernetes, without fsGroup: nginx may not read the secret, and says so');
    stop($container);

    $endpoint->answer(secrets => ['old-secret'], expires_in => 2);
    volume($volume, 'old', $USER);
    $container = start({}, \%mounts);
    is(get('/token')->{status}, 200, '... with it, the ConfigMap serves')
        or diag(slurp("$container->{log}.err"));
    is(get('/token', Origin => 'https://app.example.com')->{headers}{'access-control-allow-origin'},
        'https://app.example.com', '... its origin');

    $endpoint->answer(secrets => ['new-secret'], expires_in => 2);
    volume($volume, 'new', $USER);

    my $changed = wait_for {
        get('/token');
        ($endpoint->requests)[-1] =~ basic('new-secret');
    } 20;

    ok($changed, '... and a secret that is updated is used, without a restart');
    stop($container);
}


# What is missing or wrong is said, and nginx is not started.
{
    my %environment = (TOKEN_ENDPOINT => 'https://id.example.com/token');

    for (@REFUSED) {
        my ($name, $value) = @$_;
        my $message = in_image({ %environment, $name => $value });

        isnt($?, 0, "$name is refused: " . $value =~ s/[^ -~]/?/gr);
        ok($message =~ /^entrypoint: .*\b$name\b/m && $message !~ /return|nginx:/,
            '... in words') or diag($message);
    }

    chmod 0600, "$secrets/consumer_secret";
    chown 0, 0, "$secrets/consumer_secret";
    like(in_image(\%environment), qr{^entrypoint: user $USER may not read /run/secrets/consumer_secret}m,
        'a secret of another user');

    unlink "$secrets/consumer_secret";
    like(in_image(\%environment), qr{^entrypoint: there is neither a file /run/secrets/consumer_secret nor}m,
        'no secret');
}


sub basic { qr/^Authorization: Basic \Q@{[encode_base64("my-key:$_[0]", '')]}\E\r$/m }


# A secret as an engine mounts it, changed as one changes it.
sub secret {
    my ($name, $value) = @_;

    spew("$secrets/.new", $value);
    chmod 0400, "$secrets/.new";
    chown $USER, $USER, "$secrets/.new";
    rename "$secrets/.new", "$secrets/$name" or die "$name: $!\n";
    return;
}


# A volume's content, as the kubelet writes and changes it.
sub volume {
    my ($dir, $name, $group) = @_;
    my %files = (key => 'my-key', secret => "$name-secret");
    my $data = "..$name-$group";

    mkdir "$dir/$data" or die "$dir/$data: $!\n";

    for (sort keys %files) {
        spew("$dir/$data/$_", $files{$_});
        chown 0, $group, "$dir/$data/$_";
        chmod 0440, "$dir/$data/$_";
        symlink "..data/$_", "$dir/$_";
    }

    symlink $data, "$dir/..data_tmp" or die "$dir: $!\n";
    rename "$dir/..data_tmp", "$dir/..data" or die "$dir: $!\n";
    return;
}


sub get {
    my ($path, %headers) = @_;

    return $http->get("http://127.0.0.1:$ports{PORT}$path", { headers => \%headers });
}


# What runs a command of the image, or its entrypoint, in a sandbox.
sub sandbox {
    my ($environment, $mounts, @command) = @_;

    return ('bwrap', '--die-with-parent', '--unshare-pid', '--unshare-ipc',
        '--unshare-uts', '--as-pid-1', '--clearenv',
        '--setenv', PATH => '/usr/sbin:/usr/bin:/sbin:/bin',
        map({ ('--setenv', $_, $environment->{$_}) } sort keys %$environment),
        '--ro-bind', $root, '/', '--proc', '/proc', '--dev', '/dev',
        '--perms', '1777', '--tmpfs', '/tmp', '--tmpfs', '/run',
        '--perms', '0755', '--dir', '/run/secrets',
        map({ ('--ro-bind', $mounts->{$_}, $_) } sort keys %$mounts),
        'setpriv', "--reuid=$USER", "--regid=$USER", '--clear-groups',
        '--inh-caps=-all', '--bounding-set=-all',
        @command ? @command : $ENTRYPOINT);
}


# What a command says, with its status in $?. An nginx that starts, and should
# not, is ended.
sub in_image {
    my ($environment, @command) = @_;

    open my $out, '-|', 'sh', '-c', 'exec "$@" 2>&1', 'sh',
        sandbox($environment, { '/run/secrets' => $secrets }, 'timeout', '20',
            @command ? @command : $ENTRYPOINT) or die "bwrap: $!\n";
    local $/;
    my $text = <$out> // '';
    close $out;
    return $text;
}


# The image, when it serves.
sub start {
    my ($environment, $mounts) = @_;
    my $log = "$build/log-" . ++(state $n);

    spew("$log.$_", '') for qw(out err);
    chown $USER, $USER, "$log.out", "$log.err";

    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        open STDOUT, '>>', "$log.out" or die;
        open STDERR, '>>', "$log.err" or die;
        exec sandbox({ %$environment, %ports },
            $mounts // { '/run/secrets' => $secrets }) or die;
    }

    my $container = { pid => $pid, owner => $$, log => $log };

    push @containers, $container;

    wait_for {
        serves() || waitpid($pid, POSIX::WNOHANG()) > 0;
    } 20;

    ($container->{nginx}) = grep { slurp_or_empty("/proc/$_/status") =~ /^PPid:\s+$pid$/m }
        map { m{(\d+)} } glob '/proc/[0-9]*';

    return $container;
}


# nginx is process 1 of the sandbox: with it, all of it ends.
sub stop {
    my ($container) = @_;

    kill KILL => $container->{nginx} if $container->{nginx};
    delete $container->{nginx};
    end_child($container);
    wait_for { !serves() };
    return;
}


sub serves {
    return $http->get("http://127.0.0.1:$ports{STATUS_PORT}/status")->{success};
}


END { local $?; $_->{owner} == $$ && stop($_) for @containers }
