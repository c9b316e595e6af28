# Every way in which the client authenticates itself, against a real
# authorization server, npm's oidc-provider.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use HTTP::Tiny;
use IPC::Open2 qw(open2);
use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(decode_base64 encode_base64);
use Token::Cert;
use Token::Jwt qw(public_jwk);
use Token::Server;
use Token::Util qw($ROOT need_npm output_of slurp work_dir);

need_npm('oidc-provider', 'jose');
plan(tests => 75);

my $dir = work_dir();
my $SECRET = 'a-secret-of-more-than-64-bytes+%/=:"~' . 'x' x 40;

# name => [how openssl makes it, the algorithms it is good for]
my %KEYS = (
    rsa => ['-algorithm RSA -pkeyopt rsa_keygen_bits:2048', qw(RS256 PS256)],
    p256 => ['-algorithm EC -pkeyopt ec_paramgen_curve:P-256', 'ES256'],
    p384 => ['-algorithm EC -pkeyopt ec_paramgen_curve:P-384', 'ES384'],
    ed25519 => ['-algorithm ED25519', 'EdDSA'],
);

my %clients = (
    post => { client_secret => $SECRET,
        token_endpoint_auth_method => 'client_secret_post' },
    public => { token_endpoint_auth_method => 'none' },
);

for my $alg (qw(HS256 HS384 HS512)) {
    $clients{$alg} = { client_secret => $SECRET,
        token_endpoint_auth_method => 'client_secret_jwt',
        token_endpoint_auth_signing_alg => $alg };
}

for my $name (sort keys %KEYS) {
    my ($how, @algs) = @{ $KEYS{$name} };

    output_of("openssl genpkey $how -out $dir/$name.key");
    chmod 0600, "$dir/$name.key";

    for my $alg (@algs) {
        $clients{$alg} = {
            token_endpoint_auth_method => 'private_key_jwt',
            token_endpoint_auth_signing_alg => $alg,
            jwks => { keys => [public_jwk("$dir/$name.key", kid => $name, alg => $alg)] },
        };
    }
}

# another key of the same kind, which no client is known by
output_of("openssl genpkey $KEYS{p256}[0] -out $dir/stranger.key");

my $ca = Token::Cert->authority($dir, 'ca');
my $server_cert = $ca->issue('server', 'localhost');
my $client_cert = $ca->issue('mtls-client', 'client.example');
my $other_cert = $ca->issue('mtls-other', 'client.example');
my $self_signed = Token::Cert->authority($dir, 'self-signed');

my %mtls = (
    mtls => { token_endpoint_auth_method => 'tls_client_auth',
        tls_client_auth_subject_dn => 'CN=mtls-client',
        tls_client_certificate_bound_access_tokens => JSON::PP::true },
    self => { token_endpoint_auth_method => 'self_signed_tls_client_auth',
        jwks => { keys => [public_jwk("$dir/self-signed.key",
            kid => 'self-signed', alg => 'ES256', x5c => [x5c($self_signed)])] } },
);

my (@stdin, @pids);
my $http = server(clients => \%clients);
my $https = server(clients => \%mtls, ca => $ca->file,
    cert => $server_cert->file, key => $server_cert->key);

my $secret = $SECRET =~ s/"/\\"/r;

my $nginx = Token::Server->new(
    http => 'token_proxy_cache_zone zone=tokens:1m;',
    server => join '', map { location(@$_) } (
        [post => "$http/token", 'post', "client_secret \"$secret\"",
            'auth_method client_secret_post'],
        [post_wrong => "$http/token", 'post', 'client_secret other',
            'auth_method client_secret_post'],
        (map { [$_ => "$http/token", $_, "client_secret \"$secret\"",
            "auth_method client_secret_jwt alg=$_"] } qw(HS256 HS384 HS512)),
        [hs_default => "$http/token", 'HS256', "client_secret \"$secret\"",
            'auth_method client_secret_jwt'],
        [hs_wrong => "$http/token", 'HS256', 'client_secret other',
            'auth_method client_secret_jwt'],
        (map { my $name = $_; my (undef, @algs) = @{ $KEYS{$name} };
            (map { [$_ => "$http/token", $_, "private_key $dir/$name.key",
                "key_id $name", "auth_method private_key_jwt alg=$_"] } @algs),
            ["$name\_default" => "$http/token", $algs[0],
                "private_key $dir/$name.key", 'auth_method private_key_jwt']
        } sort keys %KEYS),
        [issuer => "$http/token", 'ES256', "private_key $dir/p256.key",
            'auth_method private_key_jwt', "assertion_audience $http"],
        [audience => "$http/token", 'ES256', "private_key $dir/p256.key",
            'auth_method private_key_jwt',
            'assertion_audience https://elsewhere.example/token'],
        [stranger => "$http/token", 'ES256', "private_key $dir/stranger.key",
            'auth_method private_key_jwt'],
        [cached => "$http/token", 'ES256', "private_key $dir/p256.key",
            'auth_method private_key_jwt', 'cache tokens'],
        [public => "$http/token", 'public', 'auth_method none'],

        [mtls => tls('mtls', $client_cert)],
        [mtls_self => tls('self', $self_signed)],
        [mtls_other => tls('mtls', $other_cert)],
        [mtls_self_other => tls('self', $client_cert)],
        [mtls_none => tls('mtls')],
        [mtls_cached => tls('mtls', $client_cert), 'cache tokens'],
        [mtls_other_cached => tls('mtls', $other_cert), 'cache tokens'],
    ))->start;


ok_token($_) for 'post', qw(HS256 HS384 HS512 hs_default);
ok_token($_) for qw(RS256 PS256 ES256 ES384 EdDSA);
ok_token("$_\_default") for sort keys %KEYS;

# a second call has an assertion of its own: the server takes each but once
ok_token($_) for qw(HS256 RS256 ES256);

ok_token('issuer');
failed('post_wrong', qr/\b401\b.*invalid_client/);
failed('hs_wrong', qr/\b401\b.*invalid_client/);
failed('audience', qr/\b401\b.*invalid_client/);
failed('stranger', qr/\b401\b.*invalid_client/);

ok_token('public');


{
    my $first = ok_token('cached');

    is(ok_token('cached'), $first, 'a cached token needs no assertion');
}


# mutual TLS: the right certificate before the wrong one and after it, since
# TLS sessions are kept
{
    ok_token('mtls');
    failed('mtls_other', qr/\b401\b.*invalid_client/);
    failed('mtls_none', qr/\b401\b.*invalid_client/);
    my $token = ok_token('mtls');
    failed('mtls_other', qr/\b401\b.*invalid_client/);

    ok_token('mtls_self');
    failed('mtls_self_other', qr/\b401\b.*invalid_client/);

    my $der = x5c($client_cert);
    is(introspect($token)->{cnf}{'x5t#S256'}, thumbprint($der),
        'the token is bound to the certificate');

    ok_token('mtls_cached');
    failed('mtls_other_cached', qr/\b401\b.*invalid_client/);
}


# no assertion and no secret in the log, which is of level debug
{
    my $log = $nginx->error_log;

    like($log, qr/\[debug\]/, 'the error log is of level debug');
    unlike($log, qr/eyJ[\w-]+/, 'no assertion in the error log');
    unlike($log, qr/client_assertion=|BEGIN/, 'nor what is around it');
    is(index($log, $SECRET), -1, 'no secret in the error log');
    unlike($log, qr/a-secret-of-more/, 'nor as it is encoded');
}

$nginx->stop;
close $_ for @stdin;
waitpid $_, 0 for @pids;


sub x5c {
    my ($cert) = @_;

    return slurp($cert->file) =~ s/-----[^-]+-----|\s//gr;
}


sub thumbprint {
    my ($x5c) = @_;

    require Digest::SHA;
    return Digest::SHA::sha256_base64(decode_base64($x5c)) =~ tr{+/}{-_}r;
}


sub server {
    my $pid = open2(my $out, my $in, 'node', "$ROOT/t/oidc/server.mjs",
        encode_json({@_}));

    push @stdin, $in;
    push @pids, $pid;

    my $issuer = <$out> // die "the authorization server did not start\n";
    chomp $issuer;
    return $issuer;
}


sub location {
    my ($name, $endpoint, $client, @directives) = @_;

    return "location = /$name { token_proxy on; "
        . "token_proxy_endpoint $endpoint; token_proxy_client_id $client; "
        . join('', map { (/^proxy_/ ? '' : 'token_proxy_') . "$_; " }
            @directives) . "}\n";
}


sub tls {
    my ($client, $cert) = @_;

    return ("$https/token", $client, 'auth_method none',
        'ssl_trusted_certificate ' . $ca->file,
        $cert ? ('proxy_ssl_certificate ' . $cert->file,
            'proxy_ssl_certificate_key ' . $cert->key) : ());
}


sub ok_token {
    my ($location) = @_;
    my $response = $nginx->get("/$location");
    my $answer = eval { decode_json($response->{content}) } // {};

    is($response->{status}, 200, "$location: status")
        or diag($response->{content}, (grep { /\[error\]/ }
            split /^/, $nginx->error_log)[-1]);
    like($answer->{access_token}, qr/^[\w.-]{20,}$/, "$location: a token");
    return $answer->{access_token};
}


sub failed {
    my ($location, $reason) = @_;
    my $before = length $nginx->error_log;
    my $response = $nginx->get("/$location");
    my $errors = join "\n", grep { /\[(?:error|crit)\]/ }
        split /\n/, substr($nginx->error_log, $before);

    is($response->{status}, 502, "$location: status");
    like($errors, $reason, "$location: the log tells why");
}


sub introspect {
    my ($token) = @_;
    my $output = output_of("curl -s --cacert '@{[ $ca->file ]}' "
        . "--cert '@{[ $client_cert->file ]}' "
        . "--key '@{[ $client_cert->key ]}' "
        . "-d client_id=mtls -d token=$token $https/token/introspection");

    return eval { decode_json($output) } // {};
}
