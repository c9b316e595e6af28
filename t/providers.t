# The locations of docs/providers.md, as they stand there, and stand-ins for the
# providers, which refuse what the providers' documents do not allow.
#
# Nothing in a location is changed but the folder of keys. The names of hosts
# lead to the stand-in, since there is an upstream block of each name.

use strict;
use warnings;

use lib 't/lib';

use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(encode_base64url);
use Test::More;
use Token::Cache qw(no_secrets);
use Token::Cert;
use Token::Providers;
use Token::Server;
use Token::StandIn;
use Token::Util qw($ROOT free_port slurp spew work_dir);

my $page = slurp("$ROOT/docs/providers.md");
my %sections = $page =~ /^## ([^\n]+)\n(.*?)(?=^## |\z)/msg;
my ($around) = $page =~ /^```nginx\n(token_proxy_cache_zone.*?)^```$/ms;
my %locations = map { $sections{$_} =~ /^```nginx\n(location .*?)^```$/ms
    ? ($_ => $1) : () } keys %sections;

# What is to be known of each: members of the answer, the token's lifetime; if a
# quota is used up, the seconds to wait and what the log says; what it says if
# clocks differ; and changes of the location, with which it works as well ("also")
# or which the provider must refuse, with the error. A change is either a directive to add or
# one in place of what an expression matches.
my $wrong_secret = ['a wrong secret' => 'token_proxy_client_secret wrong;'];
my $form = ['form-encoded' =>
    'token_proxy_auth_method client_secret_basic encoding=form;'];
my $post = ['in the body' => 'token_proxy_auth_method client_secret_post;'];
my $other_grant = ['another grant' => 'token_proxy_grant_type password;'];
my $a_parameter = ['a parameter that nobody knows' => 'token_proxy_param x y;'];

my %expected = (
    'Auth0' => {
        expires_in => 86400,
        limit => [1, 'too_many_requests'],
        refused => [
            [@$wrong_secret, 'access_denied'],
            ['Basic', qr/token_proxy_auth_method[^;]+;/, '', 'access_denied'],
            ['no audience', qr/token_proxy_param[^;]+;/, '', 'access_denied'],
            ['the audience of another API', qr/api\.example/, 'api2.example',
                'access_denied'],
            [@$other_grant, 'unauthorized_client'],
            [@$a_parameter, 'invalid_request'],
        ],
    },
    'Okta' => {
        expires_in => 3600,
        limit => [1, 'E0000047'],
        refused => [
            [@$wrong_secret, 'invalid_client'],
            [@$form, 'invalid_client'],
            [@$post, 'invalid_request'],
            ['no scope', qr/token_proxy_param[^;]+;/, '', 'invalid_scope'],
            ['a scope of users', qr/\borders\b/, 'openid', 'invalid_scope'],
            ['a scope that is not there', qr/\borders\b/, 'x', 'invalid_scope'],
        ],
    },
    'Okta with a key' => {
        expires_in => 3600,
        limit => [1, 'E0000047'],
        clock => 'invalid_client',
        also => [['one of several keys' => 'token_proxy_key_id k1;', '']],
        refused => [
            ['another key', qr/okta\.key/, 'other.key', 'invalid_client'],
            ['another audience' => 'token_proxy_assertion_audience '
                . 'https://example.okta.com;', 'invalid_client'],
            ['another algorithm', qr/RS256/, 'PS256', 'invalid_client'],
            ['a custom scope', qr/okta\.users\.read/, 'orders', 'invalid_scope'],
        ],
    },
    'Entra ID' => {
        expires_in => 3599,
        also => [['Basic, form-encoded', qr/client_secret_post/,
            'client_secret_basic encoding=form', '']],
        refused => [
            [@$wrong_secret, 'invalid_client'],
            ['Basic, raw', qr/client_secret_post/, 'client_secret_basic',
                'invalid_client'],
            ['no scope', qr/token_proxy_param[^;]+;/, '', 'invalid_request'],
            ['a scope without .default', qr/\.default/, 'User.Read',
                'invalid_scope'],
        ],
    },
    'Keycloak' => {
        expires_in => 300,
        refused => [
            [@$wrong_secret, 'unauthorized_client'],
            ['Basic, raw', qr/ encoding=form/, '', 'unauthorized_client'],
            ['another scope' => 'token_proxy_param scope x;', 'invalid_scope'],
            ['another realm', qr{realms/example}, 'realms/x', 404],
        ],
    },
    'Amazon Cognito' => {
        expires_in => 3600,
        also => [['no scope', qr/token_proxy_param[^;]+;/, '', '']],
        refused => [
            [@$wrong_secret, 'invalid_client'],
            [@$form, 'invalid_client'],
            [@$other_grant, 'unsupported_grant_type'],
        ],
    },
    'Google with workload identity' => {
        expires_in => 3599,
        also => [['two scopes', qr/(token_proxy_param +lifetime)/, 'token_proxy_param '
            . 'scope[] https://www.googleapis.com/auth/logging.write; $1', '']],
        refused => [
            ['another pool', qr/my-pool/, 'pool', 'invalid_target'],
            ['an exchange without a scope', qr/token_proxy_param +scope +[^;]+;/, '',
                'invalid_request'],
            ['an exchange with Basic', qr/token_proxy_auth_method +none;/, '',
                'invalid_request'],
            ['a token that somebody else has signed', qr/pod-token/, 'other-token',
                'invalid_grant'],
            ['no token in the header', qr/token_proxy_bearer +[^;]+;/, '',
                'UNAUTHENTICATED'],
            ['another account', qr/robot\@/, 'x@', 'PERMISSION_DENIED'],
            ['a scope that is no array', qr/scope\[\]/, 'scope', 'INVALID_ARGUMENT'],
            ['a lifetime of two hours', qr/3600s/, '7200s', 'INVALID_ARGUMENT'],
        ],
    },
    'Salesforce' => {
        expires_in => 900,
        members => { instance_url => 'https://example.my.salesforce.com' },
        refused => [
            [@$wrong_secret, 'invalid_client'],
            ['another consumer key' => 'token_proxy_client_id x;',
                'invalid_client_id'],
            ['the login host', qr/example\.my/, 'login', 'invalid_grant'],
        ],
    },
    'Zoom' => {
        expires_in => 3599,
        refused => [
            [@$wrong_secret, 'invalid_client'],
            [@$form, 'invalid_client'],
            ['a wrong id' => 'token_proxy_client_id x;',
                'Invalid client_id or client_secret'],
            ['client_credentials', qr/token_proxy_grant_type[^;]+;/, '',
                'unsupported_grant_type'],
            ['no account', qr/token_proxy_param[^;]+;/, '', 'invalid_request'],
            ['another account', qr/AbCd/, 'Xxxx', 'invalid_request'],
        ],
    },
    'Spotify' => {
        expires_in => 3600,
        limit => [7, 'Too many requests'],
        refused => [
            [@$wrong_secret, 'invalid_client'],
            [@$form, 'invalid_client'],
            [@$other_grant, 'unsupported_grant_type'],
        ],
    },
    'PayPal' => {
        expires_in => 32400,
        limit => [1, 'rate limiting'],
        refused => [
            [@$wrong_secret, 'invalid_client'],
            [@$form, 'invalid_client'],
            [@$other_grant, 'unsupported_grant_type'],
        ],
    },
    'Entra ID with a certificate' => {
        expires_in => 3599,
        clock => 'AADSTS700024',
        refused => [
            ['no thumbprint', qr/token_proxy_certificate[^;]+;/, '',
                'invalid_client'],
            ['another audience' => 'token_proxy_assertion_audience '
                . 'https://login.microsoftonline.com/;', 'invalid_client'],
            ['another client' => 'token_proxy_client_id x;', 'invalid_client'],
            ['a scope without .default', qr/\.default/, 'User.Read',
                'invalid_scope'],
        ],
    },
    'Google' => {
        expires_in => 3599,
        clock => 'short-lived token',
        also => [['two scopes', qr/(https:\S+only)/, '"$1 $1"', '']],
        refused => [
            ['another key', qr/google\.key/, 'other.key', 'invalid_grant'],
            ['another account', qr/tokens\@/, 'x@', 'invalid_grant'],
            ['another audience' => 'token_proxy_grant_claim aud '
                . 'https://example.com;', 'invalid_grant'],
            ['no scope', qr/token_proxy_grant_claim +scope[^;]+;/, '',
                'invalid_scope'],
            ['a user without delegation', qr/""/, 'nobody@example.com',
                'unauthorized_client'],
            ['a secret', qr/token_proxy_auth_method +none/,
                'token_proxy_auth_method client_secret_post', 'invalid_request'],
        ],
    },
    'Salesforce with a key' => {
        expires_in => 900,
        members => { instance_url => 'https://example.my.salesforce.com' },
        clock => 'invalid_grant',
        refused => [
            ['another key', qr/salesforce\.key/, 'other.key', 'invalid_grant'],
            ['no audience', qr/token_proxy_grant_claim +aud[^;]+;/, '',
                'invalid_grant'],
            ['another user', qr/integration\@/, 'nobody@', 'invalid_grant'],
            ['no user', qr/token_proxy_grant_claim +sub[^;]+;/, '',
                'invalid_grant'],
            ['another consumer key' => 'token_proxy_client_id x;',
                'invalid_client_id'],
        ],
    },
    'Google Compute Engine' => {
        expires_in => 3487,
        refused => [
            ['no header', qr/proxy_set_header[^;]+;/, '', 'Metadata-Flavor'],
            ['a header of a proxy' =>
                'proxy_set_header X-Forwarded-For 192.0.2.9;', 403],
            ['a POST', qr/token_proxy_request[^;]+;/, '', 405],
            ['a grant type', qr/token_proxy_grant_type[^;]+;/, '', 400],
            ['another account', qr/default/, 'x', 404],
        ],
    },
    'Azure' => {
        expires_in => 3599,
        limit => [1, 'too_many_requests'],
        also => [['one of several identities' =>
            'token_proxy_param client_id x;', '']],
        refused => [
            ['no header', qr/proxy_set_header[^;]+;/, '', 'bad_request_102'],
            ['a header of a proxy' =>
                'proxy_set_header X-Forwarded-For 192.0.2.9;', 'bad_request'],
            ['a POST', qr/token_proxy_request[^;]+;/, '', 405],
            ['no version', qr/token_proxy_param +api-version[^;]+;/, '', 400],
            ['no resource', qr/token_proxy_param +resource[^;]+;/, '',
                'invalid_request'],
            ['a grant type', qr/token_proxy_grant_type[^;]+;/, '',
                'invalid_request'],
            ['another API', qr/management\.azure/, 'example', 'invalid_resource'],
        ],
    },
    'Twilio' => {
        expires_in => 3600,
        limit => [1, '322401'],
        refused => [
            [@$wrong_secret, '20003'],
            ['Basic', qr/client_secret_post/, 'client_secret_basic', '20003'],
            [@$other_grant, '20001'],
        ],
    },
);

die "docs/providers.md: no server around the locations\n" if !$around;
die "few providers are tried\n" if keys %expected < 16;
die "few are refused\n" if grep { @{ $_->{refused} } < 3 } values %expected;

plan(tests => 7 + 8 * keys(%expected)
    + 5 * (grep { $_->{limit} } values %expected)
    + 2 * (grep { $_->{clock} } values %expected)
    + (map { @{ $_->{also} // [] } } values %expected)
    + 3 * (map { @{ $_->{refused} } } values %expected)
    + keys(%expected));

is(join(', ', sort keys %locations), join(', ', sort keys %expected),
    'every location of the page is tried, and there is one of each name');

my $dir = work_dir();
my @unchanged;
my %host = map { $_ => $locations{$_} =~ m{token_proxy_endpoint +https?://([^/;]+)} }
    keys %locations;
my %providers = providers($dir);

is(join(', ', sort grep { !$providers{$_} } values %host), '',
    'every host of the page has a stand-in');

keys_of($_) for qw(okta entra google salesforce pool other);
pod_token('pod-token', 'pool');
pod_token('other-token', 'other');

my $ca = Token::Cert->authority($dir, 'ca');
my $standin = Token::StandIn->new(dir => $dir, now => \&now,
    providers => \%providers,
    cert => $ca->issue('providers', sort keys %providers));
my $port = free_port();

my $nginx = Token::Server->new(
    env => { CONSUMER_KEY => $ID, CONSUMER_SECRET => $SECRET },
    http => join("\n", upstreams(), servers()),
)->start;


# What the page promises of a provider's location.
for my $name (sort keys %expected) {
    my $expected = $expected{$name};
    my $host = $host{$name} // die "no location for $name\n";
    my $asked = () = $standin->asked($host);
    my $answer = ask($name);
    my $members = eval { decode_json($answer->{content}) } // {};
    my ($request) = ($standin->asked($host))[-1];

    like($sections{$name}, qr/^Read: \w.*\b20\d\d-\d\d-\d\d\b/m,
        "$name: what was read, and when");
    is($answer->{status}, 200, "$name: a token")
        or diag($answer->{content}, $nginx->error_log =~ /^.*\[error\].*$/mg);
    like(delete $members->{access_token} // '', qr/^AT-\d+$/,
        "$name: it is that of the provider");
    is_deeply($members, $expected->{members} // {}, "$name: and nothing else");
    unlike("@{[ %{ $request->{headers} } ]} $request->{body}",
        qr/192\.0\.2\.1|the-caller/, "$name: nothing of the caller is sent");

    my $next = ask($name);

    is("$next->{cache} $next->{content}", "HIT $answer->{content}",
        "$name: the next caller gets the same token");
    ok($next->{expires} <= $expected->{expires_in}
        && $next->{expires} > $expected->{expires_in} - 30,
        "$name: ... for as long as the provider says") or diag($next->{expires});
    is(scalar(() = $standin->asked($host)) - $asked, 1, "$name: of one call");
}


# Changes with which it works as well.
for my $name (sort keys %expected) {
    for my $change (@{ $expected{$name}{also} // [] }) {
        my $answer = ask("$name $change->[0]");

        like($answer->{content}, qr/"access_token":"AT-\d+"/,
            "$name, $change->[0]: a token, too") or diag($answer->{content});
    }
}


# Each change makes it wrong, and the stand-in sees it.
my %said;

for my $name (sort keys %expected) {
    for my $change (@{ $expected{$name}{refused} }) {
        my ($what, $error) = ($change->[0], $change->[-1]);
        my $before = length $nginx->error_log;
        my $answer = ask("$name $what");
        my $said = substr $nginx->error_log, $before;

        $said{$name} .= $said;
        is($answer->{status}, 502, "$name, $what: 502");
        like($answer->{content}, qr/^\{"error":"server_error"/,
            "$name, $what: the caller is not told why");
        like($said, qr/answered (?:\d+, .*)?\b\Q$error\E\b/,
            "$name, $what: the log says $error");
    }
}


# Quotas
for my $name (sort grep { $expected{$_}{limit} } keys %expected) {
    my ($seconds, $error) = @{ $expected{$name}{limit} };

    $standin->limit($host{$name});

    my $asked = () = $standin->asked($host{$name});
    my $before = length $nginx->error_log;
    my $answer = ask("$name limit");

    $said{$name} .= substr $nginx->error_log, $before;
    is($answer->{status}, 503, "$name, too many requests: 503");
    cmp_ok($answer->{retry} || 0, '>=', $seconds,
        "$name, too many requests: callers are told to wait");
    like(substr($nginx->error_log, $before), qr/answered 429, .*\b\Q$error\E\b/,
        "$name, too many requests: the log says $error");
    is(ask("$name limit")->{status}, 503,
        "$name, too many requests: the next caller waits, too");
    is(scalar(() = $standin->asked($host{$name})) - $asked, 1,
        "$name, too many requests: the provider is asked once");
    $standin->limit;
}

# Clocks
for my $name (sort grep { $expected{$_}{clock} } keys %expected) {
    my $before = length $nginx->error_log;

    spew("$dir/clock", 3600);

    is(ask("$name clock")->{status}, 502, "$name, clocks differ: 502");

    my $said = substr $nginx->error_log, $before;

    like($said, qr/\b\Q$expected{$name}{clock}\E\b.*\b3[56]\d\d seconds/,
        "$name, clocks differ: the log says so, and by how much");
    $said{$name} .= $said;
    unlink "$dir/clock";
}


# What the page says of the log, but for what is only read.
my $codes = 0;

for my $name (sort keys %expected) {
    my @rows = grep { !/\*read only\*/ }
        $sections{$name} =~ /^\| (?!the log)(.*?) \| .*\|$/mg;
    my @codes = map { /`([^`]+)`/g, /\b([1-5]\d\d)\b/g } @rows;

    $codes += @codes;
    is(join(', ', grep { $said{$name} !~ /\b\Q$_\E\b/ } @codes), '',
        "$name: the log says what the page says");
}

cmp_ok($codes, '>', 45, 'the page has errors to look for');
is(join('; ', @unchanged), '', 'every change has found what it changes');
unlike($nginx->error_log, qr/\[(?:alert|crit|emerg)\]/, 'no alert');
no_secrets($nginx, qr/\Q$SECRET\E/, qr/eyJ[\w-]{20}/);
is(scalar(grep { $_->{status} == 500 } map { $standin->asked($_) }
    keys %providers), 0, 'no stand-in is wrong itself');

$nginx->stop;


# A key as it lies in the page's folder, and its public half for the stand-in.
sub keys_of {
    my ($name) = @_;
    my $output = `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out '$dir/$name.key' 2>&1`
        . `openssl pkey -in '$dir/$name.key' -pubout -out '$dir/$name.pub' 2>&1`;

    die "$name: $output\n" if $?;
    `openssl req -x509 -new -key '$dir/$name.key' -subj /CN=$name -days 2 -out '$dir/$name.crt'`;
    chmod 0600, "$dir/$name.key";
    return;
}


# What a Kubernetes cluster writes for a pod, signed with that key.
sub pod_token {
    my ($file, $key) = @_;
    my $signed = join '.', map { encode_base64url($_) } '{"alg":"RS256","typ":"JWT"}',
        encode_json({ iss => 'https://cluster.example.com', iat => time, exp => time + 7200,
            sub => 'system:serviceaccount:default:nginx',
            aud => 'https://iam.googleapis.com/projects/123456789/locations/global/'
                . 'workloadIdentityPools/my-pool/providers/my-provider' });

    spew("$dir/to-sign", $signed);
    my $signature = `openssl dgst -sha256 -sign '$dir/$key.key' '$dir/to-sign'`;

    die "$file: no signature\n" if $?;
    chmod 0600, spew("$dir/$file", "$signed." . encode_base64url($signature));
    return;
}


sub upstreams {
    return map {
        my $to = $providers{$_}{plain} ? $standin->port : $standin->tls_port;

        "upstream $_ { server 127.0.0.1:$to; }";
    } sort keys %providers;
}


# The server of the page, once for each location and each change of it.
sub servers {
    my ($zone, $server) = $around =~ /^(token_proxy_cache_zone[^;]+;)\n+(.*)/s
        or die "docs/providers.md: no zone\n";
    my @servers = ($zone, 'token_proxy_ssl_trusted_certificate ' . $ca->file . ';',
        'server_names_hash_bucket_size 128;',
        'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;',
        'proxy_set_header X-Real-IP $remote_addr;', map { "add_header $_ always;" }
            'X-Cache $token_proxy_cache_status', 'X-Expires $token_proxy_expires_in');

    for my $name (sort keys %expected) {
        my $location = $locations{$name} // next;

        push @servers, server($server, $name, $location);

        push @servers, server($server, "$name limit",
            added(added($location, 'token_proxy_cache_key limit;'),
                'token_proxy_retry_backoff 60s 60s;'));

        push @servers, server($server, "$name clock",
            added($location, 'token_proxy_cache_key clock;'));

        for my $change (map { @{ $_ // [] } } @{ $expected{$name} }{qw(also refused)}) {
            push @servers, server($server, "$name $change->[0]",
                changed($name, $location, @$change));
        }
    }

    return @servers;
}


sub server {
    my ($server, $name, $location) = @_;

    $server =~ s/listen  8080;/listen 127.0.0.1:$port; server_name @{[ host($name) ]};/
        or die "docs/providers.md: no port\n";
    $server =~ s/^ +# here\n/$location/m or die "docs/providers.md: no place\n";
    $server =~ s{/etc/nginx/}{$dir/}g;
    return $server;
}


sub host { lc($_[0] =~ s/\W+/-/gr) . '.test' }


# A location with a directive in place of another one, or one more. A token of
# its own in the cache tells it from the right one.
sub changed {
    my ($name, $location, $what, @change) = @_;
    my $error = pop @change;

    if (@change == 2) {
        my ($from, $to) = @change;

        $location =~ s/$from/ my $matched = $1; $to =~ s{\$1}{$matched}gr /e
            or push @unchanged, "$name, $what";

    } else {
        my ($directive) = $change[0] =~ /^(\w+)/;

        $location =~ s/^ *$directive [^;]+;\n//m
            if $directive !~ /_(?:param|claim|header)$/;
        $location = added($location, $change[0]);
    }

    return added($location, "token_proxy_cache_key '$what';");
}


sub added {
    my ($location, $directive) = @_;

    return $location =~ s/^\}$/    $directive\n}/mr;
}


# What a caller gets from a server; it sends what must not be passed on.
sub ask {
    my ($name) = @_;
    my $socket = IO::Socket::INET->new("127.0.0.1:$port") or die "nginx: $!\n";
    my $answer = '';

    print $socket "GET /token?x=the-caller HTTP/1.1\r\n"
        . 'Host: ' . host($name) . "\r\nX-Forwarded-For: 192.0.2.1\r\n"
        . "Cookie: c=the-caller\r\nAuthorization: Bearer the-caller\r\n"
        . "User-Agent: the-caller\r\nConnection: close\r\n\r\n";
    $socket->flush;
    1 while sysread $socket, $answer, 65536, length $answer;

    my ($head, $content) = split /\r\n\r\n/, $answer, 2;
    my %headers = map { /^([\w-]+): (.*)$/ ? (lc $1 => $2) : () }
        split /\r\n/, $head;
    my ($status) = $head =~ /^HTTP\S+ (\d+)/;

    return { status => $status // 0, content => $content // '',
        cache => $headers{'x-cache'} // '', expires => $headers{'x-expires'} // -1,
        retry => $headers{'retry-after'} // '' };
}
