# The module and a real authorization server, npm's oidc-provider: over http
# and over https with a CA of the test's own.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use HTTP::Tiny;
use IPC::Open2 qw(open2);
use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(decode_base64url encode_base64);
use Token::Cert;
use Token::Server;
use Token::Util qw($ROOT need_npm spew work_dir);

need_npm('oidc-provider', 'jose');
plan(tests => 82);

# Each of these characters is another one, or more, when it is form-encoded.
my $SPECIAL = '%41+b c&d=e:f/g?"~';
my %CLIENTS = ('my-key' => 'my-secret', 'special' => $SPECIAL);

my $dir = work_dir();
my $ca = Token::Cert->authority($dir, 'ca');
my $other_ca = Token::Cert->authority($dir, 'other-ca');
my $cert = $ca->issue('server', 'localhost');
my $misnamed = $ca->issue('misnamed', 'another.example');

my @stdin;
my @pids;
my $http = server();
my $https = server($cert);
my $https2 = server($cert);
my $wrong_name = server($misnamed);
my $refused = $http =~ s/\d+$/1/r;

my $secret_file = spew("$dir/secret", "$SPECIAL\n");
chmod 0600, $secret_file;

my $nginx = Token::Server->new(
    env => { CONSUMER_KEY => 'my-key', CONSUMER_SECRET => 'my-secret' },
    server => join '', map { location(@$_) } (
        [opaque => "$http/token"],
        [all => "$http/token", 'token_proxy_fields *'],
        [jwt => "$http/token", 'token_proxy_param resource urn:api',
            'token_proxy_param scope api', 'token_proxy_fields *'],
        [no_resource => "$http/token", 'token_proxy_param resource nonsense'],
        [wrong_secret => "$http/token", 'token_proxy_client_secret wrong'],
        [wrong_path => "$http/nowhere"],
        [refused => "$refused/token"],

        [special_form => "$http/token", special(),
            'token_proxy_auth_method client_secret_basic encoding=form'],
        [special_raw => "$http/token", special()],

        [tls => "$https/token", trusted($ca)],
        [tls_jwt => "$https/token", trusted($ca),
            'token_proxy_param resource urn:api'],
        [tls_wrong_ca => "$https2/token", trusted($other_ca)],
        [tls_system => "$https2/token"],
        [tls_session => "$https/token", trusted($other_ca)],
        [tls_wrong_name => "$wrong_name/token", trusted($ca)],
        [tls_off => "$https/token", 'token_proxy_ssl_verify off'],
        [tls_on_http => "https://localhost:" . ($http =~ /(\d+)$/)[0] . '/token',
            trusted($ca)],
    ))->start;


# http, opaque tokens
{
    my $answer = ok_token('opaque');
    is(join(' ', sort keys %$answer), 'access_token',
        'the subset of what it answers: it has no refresh_token');
    unlike($answer->{access_token}, qr/\./, 'the token is opaque');

    my $token = introspect($answer->{access_token});
    ok($token->{active}, 'the server knows the token as an active one');
    is($token->{client_id}, 'my-key', '... of the client');
    is($token->{iss}, $http, '... of its own');

    my $all = ok_token('all');
    is($all->{token_type}, 'Bearer', 'all members: token_type');
    is($all->{expires_in}, 1800, 'all members: expires_in');
    isnt($all->{access_token}, $answer->{access_token},
        'without a cache every call has its own token');
}


# http, JWT
{
    my $answer = ok_token('jwt');
    my $claims = verify($http, $answer->{access_token});

    is($claims->{iss}, $http, 'JWT: the server has signed it');
    is($claims->{aud}, 'urn:api', 'JWT: for the resource that was a parameter');
    is($claims->{client_id}, 'my-key', 'JWT: of the client');
    is($claims->{exp} - $claims->{iat}, 1800, 'JWT: its lifetime');
    is($answer->{scope}, 'api', 'JWT: the scope that was a parameter');
}


# a secret that is another one when it is form-decoded, as this server does
{
    ok_token('special_form');
    failed('special_raw', 502, qr/\b40[01]\b/);
}


# errors
{
    failed('no_resource', 502, qr/\b400\b/);
    failed('wrong_secret', 502, qr/\b401\b/);
    failed('wrong_path', 502, qr/\b404\b/);
    failed('refused', 502, qr/Connection refused/);
}


# https
{
    my $answer = ok_token('tls');
    unlike($answer->{access_token}, qr/\./, 'https: an opaque token');

    my $claims = verify($https, ok_token('tls_jwt')->{access_token});
    is($claims->{iss}, $https, 'https: a JWT of that server');

    ok_token('tls_off');
    failed('tls_wrong_ca', 502, qr/certificate verify error/);
    failed('tls_system', 502, qr/certificate verify error/);
    failed('tls_wrong_name', 502,
        qr/certificate does not match "localhost"/);
    failed('tls_on_http', 502, qr/SSL_do_handshake\(\) failed/);
}


# nginx keeps TLS sessions for each peer, for all locations that name it: one
# that another location has verified does not count
{
    failed('tls_session', 502, qr/certificate verify error/);
}


# nothing secret in the log, which is of level debug
{
    my $log = $nginx->error_log;
    my $form = 'special:%2541%2Bb+c%26d%3De%3Af%2Fg%3F%22~';

    like($log, qr/\[debug\]/, 'the error log is of level debug');

    for my $secret ('my-secret', $SPECIAL,
        encode_base64('my-key:my-secret', ''),
        encode_base64("special:$SPECIAL", ''),
        encode_base64($form, ''), tokens())
    {
        is(index($log, $secret), -1, "not in the error log: $secret");
    }
}

$nginx->stop;
close $_ for @stdin;
waitpid $_, 0 for @pids;


# An authorization server, with a certificate or without: its issuer.
sub server {
    my ($cert) = @_;
    my %options = (clients => \%CLIENTS);

    @options{qw(cert key)} = ($cert->file, $cert->key) if $cert;

    my $pid = open2(my $out, my $in, 'node', "$ROOT/t/oidc/server.mjs",
        encode_json(\%options));

    push @stdin, $in;
    push @pids, $pid;

    my $issuer = <$out> // die "the authorization server did not start\n";
    chomp $issuer;
    return $issuer;
}


sub location {
    my ($name, $endpoint, @directives) = @_;

    return "location = /$name { token_proxy on; "
        . "token_proxy_endpoint $endpoint; "
        . join('', map { "$_; " } @directives) . "}\n";
}


sub special {
    return ('token_proxy_client_id special',
        "token_proxy_client_secret file:$secret_file");
}


sub trusted {
    my ($authority) = @_;

    return 'token_proxy_ssl_trusted_certificate ' . $authority->file;
}


my @tokens;

sub tokens { return @tokens }


sub ok_token {
    my ($location) = @_;
    my $response = $nginx->get("/$location");

    is($response->{status}, 200, "$location: status")
        or diag($response->{content});

    my $answer = eval { decode_json($response->{content}) } // {};

    like($answer->{access_token}, qr/^[\w.-]{20,}$/, "$location: a token");
    push @tokens, $answer->{access_token} if $answer->{access_token};
    return $answer;
}


# What the caller gets, and what the log says that is new.
sub failed {
    my ($location, $status, $reason) = @_;
    my $before = length $nginx->error_log;
    my $response = $nginx->get("/$location");
    my $errors = join "\n", grep { /\[(?:error|crit|warn)\]/ }
        split /\n/, substr($nginx->error_log, $before);

    is($response->{status}, $status, "$location: status");
    like($response->{content}, qr/^\{"error":"[a-z_]+","error_description":"/,
        "$location: an error in JSON");
    unlike($response->{content}, qr/access_token|invalid_client/,
        "$location: the endpoint's answer stays here");
    like($errors, $reason, "$location: the log tells why");
}


sub introspect {
    my ($token) = @_;
    my $response = HTTP::Tiny->new->post_form("$http/token/introspection",
        { token => $token }, { headers => {
            Authorization => 'Basic ' . encode_base64('my-key:my-secret', ''),
        } });

    return eval { decode_json($response->{content}) } // {};
}


# The claims of a JWT, if the server has signed it.
sub verify {
    my ($issuer, $token) = @_;
    my $url = "$issuer/verify?token=$token";
    my $content = $issuer =~ /^https/
        ? do {
            my $file = $ca->file;
            scalar `curl -s --cacert '$file' '$url'`;
        }
        : HTTP::Tiny->new->get($url)->{content};

    return eval { decode_json($content) } // diag($content) // {};
}
