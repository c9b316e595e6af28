#!/usr/bin/perl

# The configurations of docs/recipes.md, as they stand there but for ports,
# files and the endpoint, with the checks that they promise.

use strict;
use warnings;

use lib 't/lib';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IO::Socket::INET;
use JSON::PP qw(decode_json);
use MIME::Base64 qw(encode_base64);
use Test::More tests => 175;
use Token::Cert;
use Token::Daemon;
use Token::Endpoint;
use Token::Jwt;
use Token::Server;
use Token::Util qw(slurp spew free_port wait_for work_dir);

my $text = slurp(dirname(abs_path(__FILE__)) . '/../docs/recipes.md');
my %recipes = $text =~ /^## ([^\n]+)\n.*?^```nginx\n(.*?)^```$/msg;
my %untried = map { $_ => 1 } grep { $recipes{$_} =~ /^server/m } keys %recipes;

my $endpoint = Token::Endpoint->new;
my $app = 'https://app.example.com';
my %from_app = (Origin => $app);
my $preflight = { %from_app, 'Access-Control-Request-Method' => 'GET' };
my $nginx;


# The server of a recipe, in which each pair of strings has been replaced.
sub recipe {
    my ($name, @replace) = @_;
    my $config = $recipes{$name} // die "no recipe $name\n";
    my $port;

    delete $untried{$name};
    $nginx->stop if $nginx;

    $nginx = Token::Server->new(env => {
        CONSUMER_KEY => 'my-key', CONSUMER_SECRET => 'my-secret',
        KIOSK_PASSWORD => 'kiosk-pw', ALICE_PASSWORD => 'alice-pw',
        AZURE_CLIENT_ID => 'my-app' });
    $port = free_port();

    push @replace, 'https://session.voxeet.com/v1/oauth2/token',
        $endpoint->url;
    push @replace, '127.0.0.1:8080', "127.0.0.1:$port", ' 8080',
        " 127.0.0.1:$port", ' 8443', " 127.0.0.1:$port";

    while (my ($from, $to) = splice @replace, 0, 2) {
        $config =~ s/\Q$from\E/$to/g;
    }

    $config =~ s/\@DIR\@/$nginx->{dir}/g;
    $nginx->configure(http => $config);
    $nginx->start;
    $nginx->{port} = $port;
    note($name);
}


sub get { $nginx->get('/token', @_) }
sub basic { (Authorization => 'Basic ' . encode_base64($_[0], '')) }
sub options { $nginx->request('OPTIONS', '/token', $_[0]) }


sub status {
    my ($answer, $status, $what, $origin) = @_;

    is($answer->{status}, $status, $what);
    is($answer->{headers}{'access-control-allow-origin'}, $origin,
        "$what: " . ($origin ? 'can be read' : 'no CORS header'));
}


recipe('The page and the token from one origin', '/srv/app', '@DIR@/html');
spew($nginx->dir . '/html/index.html', 'the page');
is($nginx->get('/index.html')->{content}, 'the page', 'the page is served');
status(get(), 200, 'its request');
status(get(Origin => 'https://evil.test'), 200, 'other pages cannot read');

recipe('A page on another origin');
status(get(%from_app), 200, 'the page', $app);
status(get(Origin => 'http://localhost:3000'), 200, 'the page in development',
    'http://localhost:3000');
status(options($preflight), 204, 'a preflight', $app);
my $calls = $endpoint->calls;
status(get(Origin => 'https://evil.test'), 403, 'another page');
is($endpoint->calls, $calls, 'another page: no call');
status(get(), 200, 'curl');

recipe('Preview deployments');
status(get(%from_app), 200, 'the page', $app);
status(get(Origin => 'https://pr-12.preview.example.com'), 200, 'a preview',
    'https://pr-12.preview.example.com');
status(get(Origin => 'https://pr-12.preview.example.com.evil.test'), 403,
    'who looks like one');
unlike($nginx->error_log, qr/\[warn\]/, 'no warning');

recipe('Behind a proxy that ends TLS');
like(forwarded('https://token.example.com'), qr/^HTTP\S+ 200/,
    'a page of the same origin');
like(forwarded('http://token.example.com'), qr/^HTTP\S+ 403/,
    'the same without TLS');

# as the balancer sends it
sub forwarded {
    return $nginx->raw("GET /token HTTP/1.1\r\nHost: token.example.com\r\n"
        . "X-Forwarded-Proto: https\r\nOrigin: $_[0]\r\n"
        . "Connection: close\r\n\r\n");
}

recipe('A page that sends cookies');
my $answer = get(%from_app);
status($answer, 200, 'the page', $app);
is($answer->{headers}{'access-control-allow-credentials'}, 'true',
    'credentials');
is($answer->{headers}{'access-control-expose-headers'}, 'Retry-After',
    'exposed headers');
like(options({ %$preflight, 'Access-Control-Request-Headers' =>
    'x-requested-with' })->{headers}{'access-control-allow-headers'},
    qr/X-Requested-With/, 'a preflight with a header');

recipe('Pages from files, and apps');
status(get(Origin => 'null'), 200, 'a file', 'null');
status(get(Origin => 'capacitor://localhost'), 200, 'an app',
    'capacitor://localhost');
status(get(%from_app), 403, 'a page');

my $dir = $nginx->dir;
chmod 0600, spew("$dir/tablet", "tablet-pw\n");

recipe('Basic authentication', '/run/secrets/tablet_password', "$dir/tablet");
status(options($preflight), 204, 'a preflight', $app);
status(get(%from_app), 401, 'no password', $app);
status(get(%from_app, basic('kiosk:no')), 401, 'a wrong one', $app);
status(get(%from_app, basic('kiosk:kiosk-pw')), 200, 'of the environment', $app);
status(get(%from_app, basic('tablet:tablet-pw')), 200, 'of a file', $app);

spew("$dir/htpasswd", 'alice:' . crypt('pw', '$6$saltsalt$') . "\n");

recipe('Basic authentication with an htpasswd file', '/etc/nginx/tokens.htpasswd', "$dir/htpasswd");
status(options($preflight), 204, 'a preflight', $app);
status(get(%from_app), 401, 'no password', $app);
status(get(%from_app, basic('alice:pw')), 200, 'a right one', $app);
is(scalar(grep { /YWxpY2U6/ } $endpoint->requests), 0,
    'it does not reach the endpoint');

# as status, which the service decides by the cookie
my $service = Token::Endpoint->new(status => 403);

recipe('A service that decides (auth_request)', 'http://127.0.0.1:9000/authorize',
    $service->url);
status(options($preflight), 204, 'a preflight', $app);
is($service->calls, 0, 'a preflight: the service is not asked');
$calls = $endpoint->calls;
status(get(%from_app), 403, 'the service says no', $app);
is($endpoint->calls, $calls, 'the service says no: no call');
$service->answer(status => 200);
status(get(%from_app, Cookie => 'session=1', basic('a:b')), 200,
    'the service says yes', $app);
$service->answer(status => 401, headers => ['WWW-Authenticate' => 'Bearer']);
$answer = get(%from_app);
status($answer, 401, 'the service wants a login', $app);
is($answer->{headers}{'www-authenticate'}, 'Bearer', 'its challenge');

recipe('Allow by IP address');
status(get(), 403, 'an address that is not listed');
recipe('Allow by IP address', '192.0.2.0/24', '127.0.0.0/8');
status(get(), 200, 'an address that is listed');

recipe('IP address or password');
status(get(), 401, 'neither');
status(get(basic('alice:alice-pw')), 200, 'a password');
recipe('IP address or password', '192.0.2.0/24', '127.0.0.0/8');
status(get(), 200, 'an address');

recipe('Rate limit');
status(options($preflight), 204, 'a preflight', $app) for 1 .. 8;
my @got = map { get(%from_app)->{status} } 1 .. 8;
is("@got", '200 200 200 200 200 200 429 429', 'a burst, and no more');
status(get(%from_app), 429, 'the page can tell', $app);

recipe('Limit of concurrent requests');
$calls = $endpoint->calls;
my @waiting = map { hanging() } 1, 2;
wait_for { $endpoint->calls == $calls + 2 };
status(get(%from_app), 429, 'one too many', $app);
status(options($preflight), 204, 'a preflight', $app);
close $_ for @waiting;
$endpoint->answer;
wait_for { get(%from_app)->{status} == 200 } 5;
status(get(%from_app), 200, 'when they have gone', $app);

# a request that waits for the endpoint
sub hanging {
    my $socket = IO::Socket::INET->new("127.0.0.1:$nginx->{port}");

    $endpoint->answer(delay => 10);
    print $socket "GET /token HTTP/1.1\r\nHost: x\r\nOrigin: $app\r\n\r\n";
    $socket->flush;
    return $socket;
}

my $ca = Token::Cert->authority($dir, 'devices-ca');
my $other = Token::Cert->authority($dir, 'other-ca');
my ($server, $device, $stranger) = ($ca->issue('token', 'localhost'),
    $ca->issue('device', 'device'), $other->issue('stranger', 'stranger'));

recipe('Client certificates', '/etc/nginx/token.crt', $server->file,
    '/etc/nginx/token.key', $server->key, '/etc/nginx/devices-ca.crt',
    $ca->file);
is(curl(), 403, 'no certificate');
is(curl('--cert', $device->file, '--key', $device->key), 200,
    'a certificate of a device');
is(curl('--cert', $stranger->file, '--key', $stranger->key), 400,
    'a certificate of another authority');

sub curl {
    my $args = join ' ', map { "'$_'" } '-s', '-o', '/dev/null', '-w',
        '%{http_code}', '--cacert', $ca->file, @_,
        "https://localhost:$nginx->{port}/token";

    return `curl $args`;
}

recipe('Referers');
status(get(%from_app, Referer => "$app/page"), 200, 'the page', $app);
status(get(%from_app, Referer => 'https://evil.test/'), 403, 'another page',
    $app);
status(get(Referer => 'https://evil.test/'), 403, 'an image of another page');

my $id = 'https://id.example.com/oauth2/token';

`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $dir/es256.key 2>&1`;
recipe('A key instead of a secret', $id, $endpoint->url,
    '/etc/nginx/client.key', "$dir/es256.key");
status(get(), 200, 'an assertion');
like(($endpoint->requests)[-1], qr/client_id=my-key&.*&client_assertion=eyJ/,
    'an assertion: it is sent');

recipe('A certificate instead of a secret', $id, $endpoint->url,
    '/etc/nginx/client.crt', $server->file,
    '/etc/nginx/client.key', $server->key);
status(get(), 200, 'a certificate');
like(($endpoint->requests)[-1],
    qr/\r\n\r\ngrant_type=client_credentials&client_id=my-key$/,
    'a certificate: the id alone is sent');

my $scope = 'https://www.googleapis.com/auth/devstorage.read_only'
    . ' https://www.googleapis.com/auth/logging.write';

`openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $dir/rsa.key 2>&1`;
`openssl pkey -in $dir/rsa.key -pubout -out $dir/rsa.pub 2>&1`;
chmod 0600, "$dir/rsa.key";

# The claims, but for times and id, and the parameters that are sent.
sub bearer {
    my ($check) = @_;

    return Token::Jwt->new(key => "$dir/rsa.pub", alg => 'RS256', check => sub {
        my ($jwt, $request) = @_;
        my %claims = %{ $jwt->{claims} };

        return 'another header' if exists $request->{headers}{authorization};
        return 'other parameters: ' . join ' ', sort keys %{ $request->{form} }
            if join(' ', sort keys %{ $request->{form} }) ne 'assertion grant_type';
        return 'valid for more than an hour' if $claims{exp} - $claims{iat} > 3600;
        return 'no id' if !defined delete $claims{jti};

        delete @claims{qw(iat exp)};
        return $check->($jwt, map { "$_=$claims{$_}" } sort keys %claims);
    });
}

my $bearer;
$bearer = bearer(sub {
    my ($jwt, @claims) = @_;

    return 'another key' if $jwt->{header}{kid} ne '0123456789abcdef';
    return @claims == 3 && $claims[0] =~ m{^aud=http://127\.0\.0\.1:\d+/token$}
        && $claims[1] eq 'iss=robot@project.iam.gserviceaccount.com'
        && $claims[2] eq "scope=$scope" ? undef : "other claims: @claims";
});
recipe('A service account of Google',
    'https://oauth2.googleapis.com/token', $bearer->url,
    '/etc/nginx/service-account.key', "$dir/rsa.key");
is(get()->{content}, '{"access_token":"AT-1"}', 'Google: a token')
    or diag($nginx->error_log =~ /(answered 400.*)/);

$bearer = bearer(sub {
    my ($jwt, @claims) = @_;

    return "@claims" eq 'aud=https://login.salesforce.com iss=my-key'
        . ' sub=integration@example.com' ? undef : "other claims: @claims";
});
recipe('A connected app of Salesforce',
    'https://example.my.salesforce.com/services/oauth2/token', $bearer->url,
    '/etc/nginx/salesforce.key', "$dir/rsa.key");
is(get()->{content}, '{"access_token":"AT-1",'
    . '"instance_url":"https://example.my.salesforce.com"}', 'Salesforce: a token')
    or diag($nginx->error_log =~ /(answered 400.*)/);

recipe("The machine's own token in a cloud", 'http://169.254.169.254',
    'http://127.0.0.1:' . $endpoint->port);
delete $nginx->{env}{CONSUMER_KEY};
$nginx->stop;
$nginx->start;
$endpoint->answer(members => { expires_in => '86399' });
is($nginx->get('/google')->{status}, 200, 'Google: a token');
like(($endpoint->requests)[-1], qr{^GET /computeMetadata/v1/instance/service-accounts/default/token HTTP.*\r\nMetadata-Flavor: Google\r}s,
    'Google: what it wants is sent');
unlike(($endpoint->requests)[-1], qr/my-key|^Content-|^Authorization/m,
    'Google: and no client, no body');
$calls = $endpoint->calls;
is($nginx->get('/azure')->{status}, 200, 'Azure: a token') for 1, 2;
is($endpoint->calls - $calls, 1, 'Azure: it is cached by a lifetime that is a string');
like(($endpoint->requests)[-1], qr{^GET /metadata/identity/oauth2/token\?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement\.azure\.com%2F HTTP.*\r\nMetadata: true\r}s,
    'Azure: what it wants is sent');
$endpoint->answer;

# what Kubernetes mounts: the file is a link, and a directory is swapped
sub projected {
    my ($version, $token) = @_;

    mkdir "$dir/$version" or die "$version: $!\n";
    chmod 0600, spew("$dir/$version/azure-identity-token", $token);
    symlink $version, "$dir/..new" or die;
    rename "$dir/..new", "$dir/..data" or die;
}

projected('..1', 'eyJ.pod.1');
symlink '..data/azure-identity-token', "$dir/azure-identity-token" or die;
$endpoint->answer(secrets => ['eyJ.pod.1', 'eyJ.pod.2'], expires_in => 2);
recipe('A workload identity of Entra',
    'https://login.microsoftonline.com/TENANT/oauth2/v2.0/token', $endpoint->url,
    '/var/run/secrets/azure/tokens', $dir);
like(get()->{content}, qr/^\{"access_token":"AT-\d+","expires_in":\d\}$/, 'Entra: a token');
is(((split /\r\n\r\n/, ($endpoint->requests)[-1])[1]),
    'grant_type=client_credentials&client_id=my-app'
    . '&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer'
    . '&client_assertion=eyJ.pod.1&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default',
    'Entra: what is sent');
projected('..2', 'eyJ.pod.2');
ok(&wait_for(sub { get(); ($endpoint->requests)[-1] =~ /client_assertion=eyJ\.pod\.2&/ }, 10),
    'Entra: a token that Kubernetes has replaced is sent');
$endpoint->answer(secrets => ['eyJ.pod.2'], expires_in => 2);
is(get()->{status}, 200, 'Entra: and the old one is not needed');
$endpoint->answer;

# spiffe-helper writes to the file itself
chmod 0600, spew("$dir/jwt_svid.token", 'eyJ.svid.1');
$endpoint->answer(secrets => ['eyJ.svid.1', 'eyJ.svid.2'], expires_in => 2);
recipe('A workload identity of SPIFFE',
    'https://sso.example.com/realms/example/protocol/openid-connect/token', $endpoint->url,
    '/run/spiffe', $dir);
like(get()->{content}, qr/^\{"access_token":"AT-\d+"/, 'SPIFFE: a token');
is(((split /\r\n\r\n/, ($endpoint->requests)[-1])[1]),
    'grant_type=client_credentials'
    . '&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-spiffe'
    . '&client_assertion=eyJ.svid.1', 'SPIFFE: what is sent, which has no client id');
unlike(($endpoint->requests)[-1], qr/^Authorization:/m, '... and no header');
spew("$dir/jwt_svid.token", 'eyJ.svid.2');
$endpoint->answer(secrets => ['eyJ.svid.2'], expires_in => 2);
ok(&wait_for(sub { get(); ($endpoint->requests)[-1] =~ /client_assertion=eyJ\.svid\.2$/ }, 10),
    'SPIFFE: an SVID that was replaced is sent');
is(get()->{status}, 200, 'SPIFFE: and the old one is not needed');
$endpoint->answer;

$endpoint->reset;
recipe("A token in exchange for the server's own", 'https://id.example.com/oauth2/token',
    $endpoint->url);
is($nginx->get('/own')->{status}, 404, 'exchange: nobody gets the first token');

{
    my @apis = map { decode_json($nginx->get("/token/$_")->{content})->{access_token} }
        qw(orders invoices orders);
    my @requests = $endpoint->requests;

    is("@apis", 'AT-2 AT-3 AT-2', 'exchange: a token for each API, which is kept');
    is(scalar(@requests), 3, '... of one first token');
    like($requests[0], qr/\r\n\r\ngrant_type=client_credentials$/, '... which is fetched first');
    like($requests[1], qr/&subject_token=AT-1&.*&audience=https%3A%2F%2Forders\.example\.com$/,
        '... and exchanged for the one');
    like($requests[2], qr/&subject_token=AT-1&.*&audience=https%3A%2F%2Finvoices\.example\.com$/,
        '... and the other');
}

recipe('An endpoint with names of its own',
    'https://open.feishu.cn/open-apis/auth/v3/tenant_access_token/internal',
    $endpoint->url);
$endpoint->answer(body => '{"code":10014,"msg":"app secret invalid"}');
status(get(), 502, 'Feishu: refused');
like($nginx->error_log, qr/answered 200.*10014.*app secret invalid/,
    'Feishu: the log says why');
$endpoint->answer(body => '{"code":0,"msg":"ok","tenant_access_token":"t-1","expire":7200}');
wait_for { get()->{status} == 200 };
like(get()->{content}, qr/^\{"access_token":"t-1","expires_in":7\d+\}$/,
    'Feishu: a token with the standard names');
is(((split /\r\n\r\n/, ($endpoint->requests)[-1])[1]),
    '{"app_id":"my-key","app_secret":"my-secret"}', 'Feishu: what is sent');
$endpoint->answer;

recipe("A token in exchange for the caller's", $id, $endpoint->url);
status(get(), 401, 'no token');
$calls = $endpoint->calls;
my $alice = get(Authorization => 'Bearer alice')->{content};
like(($endpoint->requests)[-1], qr/&subject_token=alice&subject_token_type=/,
    'the caller\'s token is sent');
isnt(get(Authorization => 'bearer bob')->{content}, $alice,
    'another caller gets another one');
is(get(Authorization => 'Bearer alice')->{content}, $alice,
    'the same one gets it again');
is($endpoint->calls - $calls, 2, 'a call for each');

recipe("A refresh token of the caller's own", $id, $endpoint->url);
status($nginx->request(POST => '/token', { %from_app,
    'Content-Type' => 'application/x-www-form-urlencoded' },
    'grant_type=refresh_token&refresh_token=mine'), 200, 'a page', $app);
like(($endpoint->requests)[-1],
    qr/\r\n\r\ngrant_type=refresh_token&refresh_token=mine$/,
    'the refresh token is sent');
$endpoint->next({ status => 400, body => '{"error":"invalid_grant"}' });
status($nginx->request(POST => '/token', { %from_app,
    'Content-Type' => 'application/x-www-form-urlencoded' },
    'grant_type=refresh_token&refresh_token=old'), 400, 'an old one', $app);

tunnel();

recipe('An API whose token stays in nginx', $id, $endpoint->url,
    'https://auth.example.com/oauth2/token', $endpoint->url,
    'https://api.example.com/', $endpoint->url);
$calls = $endpoint->calls;
is($nginx->get('/token')->{status}, 404, 'an API: no token for the page');
is($nginx->get('/api/orders', Authorization => 'Bearer mine')->{status}, 200,
    'an API: it answers');
is($endpoint->calls - $calls, 2, 'a call for the token, and one of the API');
unlike(($endpoint->requests)[-1], qr/^Authorization: Bearer mine\r$/m,
    'an API: the token is not the caller\'s');
like(($endpoint->requests)[-1], qr/^Authorization: Bearer \S+\r$/m,
    'an API: it gets the token');
is($nginx->request(POST => '/api/orders')->{status}, 403,
    'an API: nothing but what the page needs');

mkdir "$dir/$_" for '', 'acme', 'globex';
for my $tenant (qw(acme globex)) {
    spew("$dir/$tenant/id", "$tenant-id\n");
    spew("$dir/$tenant/secret", "$tenant-secret\n");
}
chmod 0755, $dir, "$dir/acme", "$dir/globex";
recipe('Many tenants', 'https://auth.example.com/oauth2/token',
    $endpoint->url, 'https://globex.auth.example.com/oauth2/token',
    $endpoint->url, '/etc/nginx/tenants', $dir);
sub tenant { $nginx->raw("GET /token HTTP/1.0\r\nHost: $_[0]\r\n\r\n") }
for my $tenant (qw(acme globex)) {
    like(tenant("$tenant.example.com"), qr/^HTTP\S+ 200 /, $tenant);
    my $basic = encode_base64("$tenant-id:$tenant-secret", '');
    like(($endpoint->requests)[-1], qr/^Authorization: Basic \Q$basic\E\r$/m,
        "$tenant: credentials of its own");
}
like(tenant('other.example.com'), qr/^HTTP\S+ 404 /, 'an unknown tenant');

# t/fleet.t
delete $untried{'One token for many machines'};

is(join(', ', sort keys %untried), '', 'every recipe was tried');

$nginx->stop;


# The endpoint by TLS, a proxy that others wrote and that asks for a password,
# and the tunnel as the recipe has it.
sub tunnel {
    my $name = 'An endpoint behind an HTTP proxy';
    my $dir = work_dir();
    my ($tls, $proxy_port, $port) = (free_port(), free_port(), free_port());
    my ($unit) = $text =~ /^## \Q$name\E\n.*?^```ini\n(.*?)^```$/ms;
    my ($command) = $unit =~ m{^ExecStart=(/\S+/socat .*)$}m;

    $command =~ s/TCP-LISTEN:3129,/TCP-LISTEN:$port,/ or die "no port\n";
    $command =~ s/PROXY:proxy\.example\.com:id\.example\.com:443,proxyport=3128/PROXY:127.0.0.1:127.0.0.1:$tls,proxyport=$proxy_port/
        or die "no proxy\n";
    $command =~ s/\$\{CREDENTIALS_DIRECTORY\}/$dir/ or die "no password\n";

    my $ca = Token::Cert->authority($dir, 'tunnel-ca');
    my $cert = $ca->issue('id', 'id.example.com');
    my $ssl = join ' ', map { "ssl_certificate$_;" } ' ' . $cert->file,
        '_key ' . $cert->key;
    my $there = Token::Server->new(
        http => "server { listen 127.0.0.1:$tls ssl; $ssl location / {
            proxy_pass @{[ $endpoint->url('') ]}; proxy_set_header Host \$http_host;
            proxy_set_header X-Sni \$ssl_server_name; } }",
    )->start;

    spew("$dir/proxy", "me:proxy-secret");
    spew("$dir/tinyproxy.conf", join '', map { "$_\n" } "Port $proxy_port",
        'Listen 127.0.0.1', 'Allow 127.0.0.1', 'BasicAuth me proxy-secret',
        "LogFile \"$dir/tinyproxy.log\"", 'LogLevel Connect');

    my $proxy = Token::Daemon->new(port => $proxy_port, log => "$dir/proxy.log",
        command => ['tinyproxy', '-d', '-c', "$dir/tinyproxy.conf"])->start;
    my $socat = Token::Daemon->new(port => $port, log => "$dir/socat.log",
        command => [split ' ', $command])->start;

    recipe($name, '127.0.0.1:3129', "127.0.0.1:$port",
        'token_proxy_cache     tokens;', 'token_proxy_cache     tokens;'
        . ' token_proxy_cache_key $arg_key;'
        . " token_proxy_ssl_trusted_certificate $dir/tunnel-ca.crt;");

    my $calls = $endpoint->calls;
    my $connects = connects($dir, $tls);

    is($nginx->get("/token?key=$_")->{status}, 200, "through a proxy: token $_") for 1, 2;
    is($endpoint->calls - $calls, 2, '... of two calls');
    like(($endpoint->requests)[-1], qr/^Host: id\.example\.com\r$/m, '... by the name of the endpoint');
    like(($endpoint->requests)[-1], qr/^X-Sni: id\.example\.com\r$/m, '... in TLS as well');

    is(connects($dir, $tls) - $connects, 1, '... in one tunnel, which is kept');
    unlike(slurp("$dir/tinyproxy.log") . $proxy->log, qr/my-secret/, '... the proxy learns no secret');

    $proxy->stop;
    $there->stop;
    is($nginx->get('/token?key=3')->{status}, 502, 'no proxy: 502');
    is($nginx->get('/token?key=1')->{status}, 200, '... and a cached token goes on');

    $_->stop for $socat, $nginx;
}


sub connects {
    my ($dir, $port) = @_;
    my @lines = grep { /\bCONNECT 127\.0\.0\.1:$port\b/ } split /\n/, slurp("$dir/tinyproxy.log");

    return scalar @lines;
}
