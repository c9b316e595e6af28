# The module and a real authorization server, npm's @node-oauth/oauth2-server in
# express: Basic, in the body and public clients, refresh tokens of callers, a
# cache with its lifetimes, kept connections, and a restart after which it knows
# no token any more.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use HTTP::Tiny;
use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(encode_base64);
use Token::Client;
use Token::Daemon;
use Token::Real;
use Token::Server;
use Token::Util qw($ROOT free_port need_npm wait_for work_dir);

need_npm('@node-oauth/express-oauth-server', 'express');
plan(tests => 176);

# Each of these characters is another one, or more, when it is form-encoded.
my $SPECIAL = '%41+b c&d=e:f/g?~';
my $SPECIAL_ID = 's%2B+/ &=id';

my $dir = work_dir();
my $ASSERTION_KEY = "$dir/key";

system("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 "
    . "-out $ASSERTION_KEY 2> $dir/openssl") == 0 or die "openssl failed\n";
chmod 0600, $ASSERTION_KEY;

my %clients = (
    (map { $_ => { secret => 'my-secret' } }
        qw(plain other counted crowd idle with:colon)),
    special => { secret => $SPECIAL },
    $SPECIAL_ID => { secret => $SPECIAL },
    wrong_cached => { secret => 'another' },
    no_grant => { secret => 'my-secret', grants => ['password'] },
    public => { grants => ['password', 'refresh_token'] },
    short => { secret => 'my-secret', accessTokenLifetime => 4,
        refreshTokenLifetime => 2 },
);

my $server = server();
my $hasty = server(idle => 1);
my $endpoint = $server->url('/token');

my @FORM = 'auth_method client_secret_basic encoding=form';
my @POST = 'auth_method client_secret_post';
my @LOGIN = ('grant_type password', 'param username user',
    'param password user-password');
my @REFRESH = ('refresh_grant on', 'cache tokens');

my $nginx = Token::Server->new(
    http => "token_proxy_cache_zone zone=tokens:1m;
        upstream kept { server 127.0.0.1:@{[ $server->port ]}; keepalive 4; }
        upstream hasty { server 127.0.0.1:@{[ $hasty->port ]}; keepalive 4; }",
    server => join '', "location /api {
            token_proxy_bearer  /cached;
            proxy_pass          @{[ $server->url ]};
        }\n", map { location(@$_) } (
        [basic => $endpoint, client('plain'), 'fields *'],
        [with_form => $endpoint, client('plain'), @FORM],
        [post => $endpoint, client('plain'), @POST],
        [scope => $endpoint, client('plain'), 'param scope api'],

        [wrong_secret => $endpoint, client('plain', 'wrong')],
        [wrong_post => $endpoint, client('plain', 'wrong'), @POST],
        [wrong_client => $endpoint, client('nobody')],
        [no_secret => $endpoint, 'client_id plain', 'auth_method none'],
        [no_grant => $endpoint, client('no_grant')],
        [wrong_grant => $endpoint, client('plain'), 'grant_type made-up'],
        [other_scope => $endpoint, client('plain'), 'param scope other'],
        [wrong_path => $server->url('/nowhere'), client('plain')],
        [assertion => $endpoint, 'client_id plain',
            "private_key $ASSERTION_KEY", 'auth_method private_key_jwt'],

        (map { my ($name, @client) = @$_;
            (["$name\_raw" => $endpoint, client(@client)],
            ["$name\_form" => $endpoint, client(@client), @FORM],
            ["$name\_post" => $endpoint, client(@client), @POST])
        } ['secret', 'special', $SPECIAL], ['id', $SPECIAL_ID, $SPECIAL]),
        [colon_form => $endpoint, client('with:colon'), @FORM],
        [colon_post => $endpoint, client('with:colon'), @POST],

        [login_basic => $endpoint, client('plain'), @LOGIN],
        [refresh_basic => $endpoint, client('plain'), @REFRESH],
        [login_post => $endpoint, client('plain'), @LOGIN, @POST],
        [refresh_post => $endpoint, client('plain'), @REFRESH, @POST],
        [login_public => $endpoint, client('public'), @LOGIN,
            'auth_method none'],
        [refresh_public => $endpoint, client('public'), @REFRESH,
            'auth_method none'],
        [login_short => $endpoint, client('short'), @LOGIN],
        [refresh_short => $endpoint, client('short'), @REFRESH],
        [refresh_other => $endpoint, client('other'), @REFRESH],
        [refresh_wrong => $endpoint, client('plain', 'wrong'), @REFRESH],
        [refresh_wrong_post => $endpoint, client('plain', 'wrong'), @REFRESH,
            @POST],

        [cached => $endpoint, client('counted'), 'cache tokens', 'fields *'],
        [cached_short => $endpoint, client('short'), 'cache tokens',
            'fields *'],
        [crowd => $endpoint, client('crowd'), 'cache tokens'],
        [wrong_cached => $endpoint, client('wrong_cached'), 'cache tokens',
            'retry_backoff 30s 60s'],
        [kept => 'http://kept/token', client('plain')],
        [hasty => 'http://hasty/token', client('idle')],
    ))->start;


# Basic and post
{
    my $answer = token($nginx, 'basic');

    is($answer->{token_type}, 'Bearer', 'all members: token_type');
    cmp_ok($answer->{expires_in}, '>', 3500, 'all members: expires_in');
    is($answer->{scope}, 'api', 'all members: scope');
    is(api($answer->{access_token}), 'plain', 'the token is the client\'s');

    is(join(' ', keys %{ token($nginx, $_) }), 'access_token',
        'by default: no more than the token') for qw(with_form post scope);
}


# what it refuses, and why, as the log has it
{
    refused($nginx, 'wrong_secret', 502,
        qr/answered 401, error: invalid_client, .*: client is invalid/);
    refused($nginx, 'wrong_post', 502, qr/answered 400, error: invalid_client/);
    refused($nginx, 'wrong_client', 502,
        qr/answered 401, error: invalid_client/);
    refused($nginx, 'no_secret', 502, qr/answered 400, error: invalid_client/);
    refused($nginx, 'no_grant', 502,
        qr/answered 400, error: unauthorized_client/);
    refused($nginx, 'wrong_grant', 502,
        qr/answered 400, error: unsupported_grant_type/);
    refused($nginx, 'other_scope', 502, qr/answered 400, error: invalid_scope/);
    refused($nginx, 'wrong_path', 502, qr/answered 404/);

    # it has no assertions
    refused($nginx, 'assertion', 502,
        qr/answered 400, error: invalid_client, .*cannot retrieve client cred/);
}


# It takes Basic credentials as they are, and decodes nothing.
{
    for my $name (qw(secret id)) {
        token($nginx, "$name\_$_") for qw(raw post);
        refused($nginx, "$name\_form", 502, qr/answered 401/);
    }

    refused($nginx, 'colon_form', 502, qr/answered 401/);
    token($nginx, 'colon_post');
}


# refresh tokens of callers
{
    for my $method (qw(basic post public)) {
        my $old = token($nginx, "login_$method")->{refresh_token};
        my ($status, $answer) = refresh($nginx, "refresh_$method", $old);

        is($status, 200, "$method: a refresh token is good for another token");
        is(join(' ', sort keys %$answer), 'access_token refresh_token',
            "$method: with the token for the next time");
        is(api($answer->{access_token}),
            $method eq 'public' ? 'public' : 'plain',
            "$method: it is the client's");
        ($status) = refresh($nginx, "refresh_$method",
            $answer->{refresh_token});
        is($status, 200, "$method: ... and that is good as well");
    }

    my $from = length $nginx->error_log;
    my $used = token($nginx, 'login_basic')->{refresh_token};

    is((refresh($nginx, 'refresh_basic', $used))[0], 200, 'a first use');
    grant_refused($nginx, 'refresh_basic', $used, 'a second use');
    grant_refused($nginx, 'refresh_basic', 'made-up', 'a made-up token');
    grant_refused($nginx, 'refresh_other', token($nginx, 'login_basic')
        ->{refresh_token}, 'a token of another client');

    my $expiring = token($nginx, 'login_short')->{refresh_token};
    sleep 4;
    grant_refused($nginx, 'refresh_short', $expiring, 'a token that has expired');

    my $log = substr $nginx->error_log, $from;
    unlike($log, qr/\[error\]/, 'none of these is an error of the server');
    is(scalar(() = $log =~ /\[info\].*answered 400, error: invalid_grant/g), 4,
        '... but the log says so');

    # it says that it means the client
    for my $name (qw(refresh_wrong refresh_wrong_post)) {
        my $before = length $nginx->error_log;
        my ($status, $answer) = refresh($nginx, $name,
            token($nginx, 'login_basic')->{refresh_token});

        is($status, 502, "$name: a wrong secret is not the caller's mistake");
        is($answer->{error}, 'server_error', "$name: ... which the error says");
        like(substr($nginx->error_log, $before),
            qr/\[error\].*answered 40[01], error: invalid_client/,
            "$name: ... and the log");
    }
}


# a cache, with the server's lifetimes
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
    like((keys %answers)[0], qr/^\{"access_token":"\w/, '... a good one');
    is(issued('crowd'), 1, '... for which the server was asked once');

    refused($nginx, 'wrong_cached', 502, qr/answered 401/);
    is($nginx->get('/wrong_cached')->{status}, 503,
        'a wrong secret, the next caller: not now');

    my $before = issued('short');
    my (%tokens, $dead);

    wait_for {
        my $got = $nginx->get('/cached_short');
        my $answer = eval { decode_json($got->{content}) } // {};
        my $token = $answer->{access_token} // 'none';

        $tokens{$token} = 1;
        $dead = "$token: " . api($token) if api($token) ne 'short';
        keys %tokens > 3;
    } 30;

    is(scalar(keys %tokens), 4, 'a token of four seconds is renewed');
    is($dead, undef, '... before the server refuses it');
    cmp_ok(issued('short') - $before, '<=', 5, '... once each time');
}


# kept connections
{
    token($nginx, 'kept');
    my @connections = $server->connections;

    token($nginx, 'kept') for 1 .. 5;
    is(scalar(@connections), 1, 'keepalive: a connection is kept');
    is(join(' ', $server->connections), "@connections", '... and used again');

    my %statuses = map { $nginx->get('/hasty')->{status} => 1 } 1 .. 300;
    is(join(' ', sort keys %statuses), '200',
        'a server that closes kept connections at once: a token each time');
    is(issued('idle', $hasty), 300, '... for which it is asked once');
}


# a restart, after which the server knows none of its tokens
{
    my $response = $nginx->get('/api');

    is($response->{content}, 'counted', 'an API with the token from the cache');

    endures($nginx, 'kept', $server, 'uncached');
    endures($nginx, 'cached', $server, 'cached');
    is(issued('counted'), 0, '... without a call of the server');

    $response = $nginx->get('/api');
    is($response->{status}, 200, 'an API that has forgotten the token');
    is($response->{content}, 'counted', '... gets another one');
    is(issued('counted'), 1, '... for which the server was asked once');
}


# nothing secret in the log, which is of level debug
{
    my $log = $nginx->error_log;

    like($log, qr/\[debug\]/, 'the error log is of level debug');
    unlike($log, qr/\b[0-9a-f]{64}\b/, 'no token is in it');
    is(index($log, $_), -1, "... nor $_")
        for 'my-secret', 'user-password', $SPECIAL,
            encode_base64('plain:my-secret', '');
}

$nginx->stop;
$_->stop for $server, $hasty;


sub server {
    my $port = free_port();

    return Token::Daemon->new(port => $port, log => "$dir/$port.log",
        command => ['node', "$ROOT/t/oauth2_server/server.mjs",
            encode_json({ port => $port, clients => \%clients, @_ })])->start;
}


# Directives for a client with a secret.
sub client {
    my ($id, $secret) = @_;

    $secret //= 'my-secret';
    return (qq(client_id "$id"), qq(client_secret "$secret"));
}


# Whose token it is, as an API of the server's says.
sub api {
    my ($token) = @_;
    my $response = HTTP::Tiny->new->get($server->url('/api'),
        { headers => { Authorization => "Bearer $token" } });

    return $response->{success} ? $response->{content} : $response->{status};
}


# How many tokens a server has issued to a client.
sub issued {
    my ($client, $by) = @_;

    return HTTP::Tiny->new->get(($by // $server)->url("/issued?client=$client"))
        ->{content};
}
