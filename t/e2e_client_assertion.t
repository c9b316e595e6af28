# A workload without a secret, and a real authorization server, npm's
# oidc-provider: the client's assertions are made by a platform, a process that
# knows nothing of nginx, and replaced under load. The server takes an assertion
# for some seconds, and each but once.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use IPC::Open2 qw(open2);
use JSON::PP qw(decode_json encode_json);
use HTTP::Tiny;
use Token::Client;
use Token::Jwt qw(public_jwk);
use Token::Real;
use Token::Server;
use Token::Util qw($ROOT need_npm output_of slurp wait_for work_dir);

need_npm('oidc-provider', 'jose');
plan(tests => 20);

my $dir = work_dir();
my $file = "$dir/assertion";
my (@stdin, @pids);

output_of("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $dir/$_.key")
    for 'first', 'second';

my ($issuer) = start('server', ttl => 4, clients => { workload => {
    token_endpoint_auth_method => 'private_key_jwt',
    token_endpoint_auth_signing_alg => 'ES256',
    jwks => { keys => [map { public_jwk("$dir/$_.key", kid => $_, alg => 'ES256') } 'first', 'second'] },
} });
my ($first, $platform, $said) = start_platform();

my $nginx = Token::Server->new(
    workers => 2,
    http => 'token_proxy_cache_zone zone=tokens:1m;',
    server => join('',
        location('api', "$issuer/token", 'auth_method client_assertion',
            "client_assertion file:$file", 'param resource urn:api',
            'cache tokens', 'retry_backoff 500ms 500ms'),
        'location = /status { token_proxy_status; access_log off; }'),
)->start;

is($first, 'first', 'the platform has made an assertion');

my $answer = token($nginx, 'api');
my $claims = verify($answer->{access_token});

is($claims->{client_id}, 'workload', '... for which the server gives a token');
is($claims->{aud}, 'urn:api', '... for the API');


# tokens of four seconds are renewed each two, assertions replaced each half
{
    my $load = Token::Client->load($nginx->port, '/api', processes => 3,
        seconds => 60, gap => 0.01);

    ok(renewed(2), 'under load: it is renewed with other assertions');

    print $platform "second\n";
    is(scalar(<$said>), "second\n", 'the platform signs with another key');
    ok(renewed(2), '... it is renewed');

    my $result = $load->stop;

    is($result->{failed}, 0, 'no request has failed') or diag explain $result->{why};
    cmp_ok($result->{requests}, '>', 300, '... of many');
    cmp_ok(scalar(keys %{ $result->{tokens} }), '>=', 4, '... with a token after the other');
    is(verify(last_token($nginx))->{client_id}, 'workload', '... of this client');
}


# the platform is gone: what it has left is used once, and then refused
{
    close $platform;
    waitpid $pids[1], 0;

    my $from = length $nginx->error_log;

    ok((wait_for { $nginx->get('/api')->{status} == 502 } 15),
        'the platform is gone: an error in the end');
    like(substr($nginx->error_log, $from), qr/\[error\] .*answered 401, error: invalid_client/,
        '... which the log tells');

    ($first, $platform, $said) = start_platform();
    ok((wait_for { $nginx->get('/api')->{status} == 200 } 5),
        '... and back: a token');
    is(verify(last_token($nginx))->{client_id}, 'workload', '... of this client');
}


# what the log holds, which is of level debug
{
    my $log = $nginx->error_log;
    my ($payload) = slurp($file) =~ /\.([\w-]+)\./;

    like($log, qr/\[debug\]/, 'the error log is of level debug');
    unlike($log, qr/eyJ[\w-]+\.eyJ/, '... and holds no assertion and no token');
    ok(index($log, $payload) < 0, '... nor a part of one');
    unlike($log, qr/\[(?:alert|emerg|crit)\]/, '... and nothing worse than what was refused');
}

$nginx->stop('QUIT');
close $_ for @stdin;
waitpid $_, 0 for @pids;


# A program of t/oidc: its first line, its standard input and output.
sub start {
    my ($name, %options) = @_;
    my $pid = open2(my $out, my $in, 'node', "$ROOT/t/oidc/$name.mjs",
        encode_json(\%options));

    push @stdin, $in;
    push @pids, $pid;
    $in->autoflush;

    my $line = <$out> // die "$name did not start\n";

    chomp $line;
    return ($line, $in, $out);
}


sub start_platform {
    return start('platform', file => $file, client => 'workload', audience => $issuer,
        keys => { first => "$dir/first.key", second => "$dir/second.key" },
        key => 'first', every => 0.5, lifetime => 4);
}


# Whether the server gives so many more tokens.
sub renewed {
    my ($times) = @_;
    my $end = fetched() + $times;

    return wait_for { fetched() >= $end } 15;
}


sub fetched {
    my $zone = decode_json($nginx->get('/status')->{content})->{zones}{tokens};
    my ($at) = values %{ $zone->{endpoints} };

    return $at->{fetches}{ok};
}


sub last_token {
    my ($nginx) = @_;

    return decode_json($nginx->get('/api')->{content})->{access_token};
}


# The claims of a token, by the server that has signed it.
sub verify {
    my ($token) = @_;
    my $response = HTTP::Tiny->new(timeout => 20)->get("$issuer/verify?token=$token");

    return eval { decode_json($response->{content}) } // {};
}
