# The module and a real authorization server, Debian's glewlwyd: every way in
# which it knows a client, refresh tokens of callers, a cache with its
# lifetimes, and its restart. What it refuses it answers with a status and
# mostly no body.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use JSON::PP qw(decode_json);
use MIME::Base64 qw(decode_base64url);
use Token::Client;
use Token::Glewlwyd qw(need_glewlwyd);
use Token::Real;
use Token::Server;
use Token::Util qw(slurp wait_for work_dir);

need_glewlwyd();
plan(tests => 213);

# Each of these characters is another one, or more, when it is form-encoded.
my $SPECIAL = '%41+b c&d=e:f/g?~';
my $SPECIAL_ID = 's%2B+/ &=id';
my $SECRET = 'a-secret-of-more-than-64-bytes+%/=:' . 'x' x 40;

# name => [how openssl makes it, the algorithms it is good for]
my %KEYS = (
    rsa => ['-algorithm RSA -pkeyopt rsa_keygen_bits:2048', qw(RS256 PS256)],
    p256 => ['-algorithm EC -pkeyopt ec_paramgen_curve:P-256', 'ES256'],
    p384 => ['-algorithm EC -pkeyopt ec_paramgen_curve:P-384', 'ES384'],
    ed25519 => ['-algorithm ED25519', 'EdDSA'],
);

my @ALGS = map { @$_[1 .. $#$_] } @KEYS{sort keys %KEYS};
my @HS = qw(HS256 HS384 HS512);
my @JWKS = qw(p256 p384);

my $dir = work_dir();
my %clients = (
    plain => { client_secret => 'my-secret' },
    other => { client_secret => 'my-secret' },
    counted => { client_secret => 'my-secret' },
    crowd => { client_secret => 'my-secret' },
    wrong_cached => { client_secret => 'another' },
    special => { client_secret => $SPECIAL },
    $SPECIAL_ID => { client_secret => $SPECIAL },
    'with:colon' => { client_secret => 'my-secret' },
    hs => { client_secret => $SECRET,
        token_endpoint_auth_method => ['client_secret_jwt'] },
);

for my $name (sort keys %KEYS, 'stranger') {
    my $how = ($KEYS{$name} // $KEYS{p256})->[0];

    my $file = "$dir/$name";

    system("openssl genpkey $how -out $file.key 2> $dir/openssl"
        . " && openssl pkey -in $file.key -pubout -out $file.pub") == 0
        or die "openssl: " . slurp("$dir/openssl") . "\n";
    chmod 0600, "$file.key";
    $clients{$name} = { pubkey => slurp("$file.pub"),
        token_endpoint_auth_method => ['private_key_jwt'] } if $KEYS{$name};
}

$clients{jwks} = { jwks => { keys => [map { jwk($_) } @JWKS] },
    token_endpoint_auth_method => ['private_key_jwt'] };

my $server = Token::Glewlwyd->new->start->setup(
    plugins => {
        oidc => {},
        short => { 'access-token-duration' => 4,
            'refresh-token-duration' => 2 },
    },
    clients => \%clients,
    users => { user => 'user-password' },
);


my $port = $server->port;
my $endpoint = $server->endpoint('oidc');
my $short = $server->endpoint('short');
my @LOGIN = ('grant_type password', 'param username user',
    'param password user-password', 'param scope api');
my @REFRESH = ('refresh_grant on', 'cache tokens');

my $nginx = Token::Server->new(
    http => "token_proxy_cache_zone zone=tokens:1m;
        token_proxy_param scope api;
        upstream kept { server 127.0.0.1:$port; keepalive 4; }",
    server => join '', map { location(@$_) } (
        [basic => $endpoint, secret('plain'), 'fields *'],
        [with_form => $endpoint, secret('plain'),
            'auth_method client_secret_basic encoding=form'],
        [post => $endpoint, secret('plain'), 'auth_method client_secret_post'],
        [wrong_secret => $endpoint, secret('plain', 'wrong')],
        [wrong_post => $endpoint, secret('plain', 'wrong'),
            'auth_method client_secret_post'],
        [wrong_client => $endpoint, secret('nobody')],
        [no_scope => $endpoint, secret('plain'), 'param audience api'],
        [other_scope => $endpoint, secret('plain'), 'param scope other'],
        [wrong_path => $server->url('/api/nowhere/token'), secret('plain')],

        (map { my ($name, $id, $secret) = @$_;
            (["$name\_raw" => $endpoint, secret($id, $secret)],
            ["$name\_form" => $endpoint, secret($id, $secret),
                'auth_method client_secret_basic encoding=form'],
            ["$name\_post" => $endpoint, secret($id, $secret),
                'auth_method client_secret_post'])
        } (['secret', 'special', $SPECIAL], ['id', $SPECIAL_ID, $SPECIAL])),
        [colon_form => $endpoint, secret('with:colon'),
            'auth_method client_secret_basic encoding=form'],
        [colon_post => $endpoint, secret('with:colon'),
            'auth_method client_secret_post'],

        (map { [$_ => $endpoint, secret('hs', $SECRET),
            "auth_method client_secret_jwt alg=$_"] } @HS),
        [hs_wrong => $endpoint, secret('hs'), 'auth_method client_secret_jwt'],
        (map { my $name = $_; my (undef, @algs) = @{ $KEYS{$name} };
            map { [$_ => $endpoint, key($name, $name, "alg=$_")] } @algs
        } sort keys %KEYS),
        (map { ["jwks_$_" => $endpoint, key($_, 'jwks'), "key_id $_"] } @JWKS),
        [jwks_unknown => $endpoint, key('p256', 'jwks'), 'key_id rsa'],
        [stranger => $endpoint, key('stranger', 'p256')],
        [by_name => $endpoint =~ s/127\.0\.0\.1/localhost/r, key('p256')],
        [audience => $endpoint =~ s/127\.0\.0\.1/localhost/r, key('p256'),
            "assertion_audience $endpoint"],
        [key_cached => $endpoint, key('p256'), 'cache tokens'],

        [login => $endpoint, secret('plain'), @LOGIN],
        [refresh_basic => $endpoint, secret('plain'), @REFRESH],
        [refresh_other => $endpoint, secret('other'), @REFRESH],
        [refresh_wrong => $endpoint, secret('plain', 'wrong'), @REFRESH],
        [login_post => $endpoint, secret('plain'), @LOGIN,
            'auth_method client_secret_post'],
        [refresh_post => $endpoint, secret('plain'), @REFRESH,
            'auth_method client_secret_post'],
        [login_key => $endpoint, key('p256'), @LOGIN],
        [refresh_key => $endpoint, key('p256'), @REFRESH],
        [login_short => $short, secret('plain'), @LOGIN],
        [refresh_short => $short, secret('plain'), @REFRESH],

        [cached => $endpoint, secret('counted'), 'cache tokens', 'fields *'],
        [crowd => $endpoint, secret('crowd'), 'cache tokens'],
        [wrong_cached => $endpoint, secret('wrong_cached'), 'cache tokens',
            'retry_backoff 30s 60s'],
        [cached_short => $short, secret('counted'), 'cache tokens', 'fields *'],
        [kept => 'http://kept/api/oidc/token', secret('plain')],
    ))->start;


# Basic and post
{
    my $answer = token($nginx, 'basic');
    my $claims = claims($answer);

    is($answer->{token_type}, 'bearer', 'all members: token_type');
    is($answer->{expires_in}, 3600, 'all members: expires_in');
    is($answer->{scope}, 'api', 'all members: the scope that was a parameter');
    is($claims->{client_id}, 'plain', 'the token is the client\'s');
    is($claims->{iss}, $server->url, '... of this server');

    is(join(' ', keys %{ token($nginx, $_) }), 'access_token',
        'by default: no more than the token') for qw(with_form post);
}


# what it refuses, it refuses without a word
{
    refused($nginx, $_, 502, qr/answered 403/)
        for qw(wrong_secret wrong_post wrong_client no_scope);
    refused($nginx, 'other_scope', 502, qr/answered 400.*scope_invalid/);
    refused($nginx, 'wrong_path', 502, qr/answered 404/);
}


# It takes Basic credentials as they are, and decodes nothing.
{
    for my $name (qw(secret id)) {
        token($nginx, "$name\_$_") for qw(raw post);
        refused($nginx, "$name\_form", 502, qr/answered 403/);
    }

    refused($nginx, 'colon_form', 502, qr/answered 403/);
    token($nginx, 'colon_post');
}


# assertions, each of which it takes but once
{
    token($nginx, $_) for @HS, @HS;
    token($nginx, $_) for (@ALGS) x 2;
    token($nginx, "jwks_$_") for @JWKS;
    refused($nginx, $_, 502, qr/answered 403/)
        for qw(hs_wrong stranger jwks_unknown by_name);
    token($nginx, 'audience');

    my $first = token($nginx, 'key_cached')->{access_token};
    is(token($nginx, 'key_cached')->{access_token}, $first,
        'a cached token needs no assertion');
}


# refresh tokens of callers
{
    for my $method (qw(basic post key)) {
        my $login = $method eq 'basic' ? 'login' : "login_$method";
        my $old = token($nginx, $login)->{refresh_token};
        my ($status, $answer) = refresh($nginx, "refresh_$method", $old);

        is($status, 200, "$method: a refresh token is good for another token");
        is(join(' ', sort keys %$answer), 'access_token refresh_token',
            "$method: with the token for the next time");
        ($status) = refresh($nginx, "refresh_$method",
            $answer->{refresh_token});
        is($status, 200, "$method: which is good");
    }

    my $from = length $nginx->error_log;
    my $used = token($nginx, 'login')->{refresh_token};

    is((refresh($nginx, 'refresh_basic', $used))[0], 200, 'a first use');
    grant_refused($nginx, 'refresh_basic', $used, 'a second use');
    grant_refused($nginx, 'refresh_basic', 'made-up', 'a made-up token');
    grant_refused($nginx, 'refresh_basic', 'A' x 128, 'a token of the right length');
    grant_refused($nginx, 'refresh_other', token($nginx, 'login')->{refresh_token},
        'a token of another client');

    my $expiring = token($nginx, 'login_short')->{refresh_token};
    sleep 4;
    grant_refused($nginx, 'refresh_short', $expiring, 'a token that has expired');

    my $log = substr $nginx->error_log, $from;
    unlike($log, qr/\[error\]/, 'none of these is an error of the server');
    is(scalar(() = $log =~ /\[info\].*answered 400/g), 5,
        '... but the log says so');

    # it answers 400 without a body to a wrong secret as well: what the client
    # is refused for shows in the location's own grant
    grant_refused($nginx, 'refresh_wrong', token($nginx, 'login')->{refresh_token},
        'a wrong secret is not told from a wrong token');
    refused($nginx, 'refresh_wrong', 502, qr/answered 403/);
}


# a cache, with its lifetimes
{
    my $answer = token($nginx, 'cached');

    cmp_ok($answer->{expires_in}, '<=', 3600, 'a new token: its lifetime');
    cmp_ok($answer->{expires_in}, '>', 3500, '... nearly all of it');
    is(token($nginx, 'cached')->{access_token}, $answer->{access_token},
        'the next caller has the same one');
    is(issued('counted'), 1, '... for which the server was asked once');

    my $client = Token::Client->new($nginx->port);
    $client->send('/crowd') for 1 .. 20;
    my %answers = map { $_->{content} => 1 } $client->receive(20);
    is(scalar(keys %answers), 1, 'callers at the same time have one token');
    like((keys %answers)[0], qr/^\{"access_token":"eyJ/, '... a good one');
    is(issued('crowd'), 1, '... for which the server was asked once');

    refused($nginx, 'wrong_cached', 502, qr/answered 403/);
    is($nginx->get('/wrong_cached')->{status}, 503,
        'a wrong secret, the next caller: not now');
    is(scalar(() = $server->log =~ /client_id wrong_cached at IP/g), 1,
        '... and the server has one refusal in its log, which fail2ban counts');

    my (%tokens, %dead);

    wait_for {
        my $got = $nginx->get('/cached_short');
        my $answer = eval { decode_json($got->{content}) } // {};
        my $token = $answer->{access_token} // 'none';

        $tokens{$token} = 1;
        $dead{$token} = 1 if (claims($answer)->{exp} // 0) < $got->{sent};
        keys %tokens > 3;
    } 30;

    is(scalar(keys %tokens), 4, 'a token of four seconds is renewed');
    is(scalar(keys %dead), 0, '... before it expires');
    cmp_ok(issued('counted'), '<=', 6, '... once each time');
}


# kept connections, and a restart
{
    token($nginx, 'kept');
    my @connections = $server->connections;

    token($nginx, 'kept') for 1 .. 5;
    is(scalar(@connections), 1, 'keepalive: a connection is kept');
    is(join(' ', $server->connections), "@connections", '... and used again');

    endures($nginx, 'kept', $server, 'uncached');

    my $before = issued('counted');

    endures($nginx, 'cached', $server, 'cached');
    is(issued('counted'), $before, '... without a call of the server');
}


# nothing secret in the log, which is of level debug
{
    my $log = $nginx->error_log;

    like($log, qr/\[debug\]/, 'the error log is of level debug');
    unlike($log, qr/eyJ[\w-]+/, 'no token and no assertion is in it');
    is(index($log, $_), -1, "... nor $_")
        for 'my-secret', 'user-password', $SPECIAL, substr($SECRET, 0, 20);
}

$nginx->stop;
$server->stop;


# Directives for a client with a secret.
sub secret {
    my ($id, $secret) = @_;

    $secret //= 'my-secret';
    return (qq(client_id "$id"), qq(client_secret "$secret"));
}


# Directives for one with a private key, by the name of the client or another.
sub key {
    my ($key, $id, $alg) = @_;

    return ('client_id ' . ($id // $key), "private_key $dir/$key.key",
        'auth_method private_key_jwt ' . ($alg // ''));
}


sub claims {
    my ($answer) = @_;
    my ($claims) = ($answer->{access_token} // '') =~ /\.([^.]+)\./;

    return defined $claims ? decode_json(decode_base64url($claims)) : {};
}


# The public half of a key, as the server wants it.
sub jwk {
    my ($name) = @_;
    my $jwk = `node -e 'console.log(JSON.stringify(
        crypto.createPublicKey(fs.readFileSync(process.argv[1]))
            .export({ format: "jwk" })))' $dir/$name.key`;

    return { %{ decode_json($jwk) }, kid => $name };
}


# How many tokens the server has issued to a client.
sub issued {
    my ($client) = @_;

    return $server->sql('SELECT count(*) FROM gpo_access_token '
        . "WHERE gpoa_client_id = '$client'");
}
