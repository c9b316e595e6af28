# An endpoint whose address changes, and a DNS server that comes and goes: with
# a resolver in scope, the host of an endpoint is resolved while serving.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 77;
use Time::HiRes qw(sleep);
use Token::Cache;
use Token::Cert;
use Token::Dns;
use Token::Server;
use Token::Util qw(free_port wait_for work_dir);

my $dir = work_dir();
my $ca = Token::Cert->authority($dir, 'ca');
my $cert = $ca->issue('idp', 'idp.example');
my ($port, $tls) = (free_port(), free_port());

# To the system's resolver "127.2" is 127.0.0.2, without any DNS; to nginx it is
# a name like others.
my $NAME = '127.2';

# Two machines: a token says which has answered. A path is a lifetime.
my $there = Token::Server->new(
    log_level => 'error',
    http => join('', map { <<"END" } 2, 3),
        server {
            listen  127.0.0.$_:$port;
            listen  127.0.0.$_:$tls ssl;
            ssl_certificate      @{[ $cert->file ]};
            ssl_certificate_key  @{[ $cert->key ]};

            location ~ ^/(\\d+)\$ {
                return  200 '{"access_token":"AT-$_","expires_in":\$1,"host":"\$http_host","sni":"\$ssl_server_name","method":"\$request_method"}';
            }

            location /api {
                return  200 '\$http_authorization';
            }
        }
END
    server => q(location / { return 200 '{"access_token":"AT-1"}'; }),
)->start;

my $dns = Token::Dns->new;
my $RESOLVER = "resolver 127.0.0.1:@{[ $dns->port ]}; resolver_timeout 1s;";
my $idp = "http://idp.example:$port/3600";
my @all = ('token_proxy_fields *', 'token_proxy_cache off');
my @kept = ('token_proxy_fields *');

$dns->stop;

# The block that has a name of its own stands behind the server.
my $nginx = Token::Server->new(
    http => zone() . $RESOLVER,
    server => join('',
        location('plain', $idp, @all),
        location('kept', $idp, @kept),
        location('short', "http://idp.example:$port/4", @kept,
            'token_proxy_retry_backoff 100ms 100ms'),
        location('query', $idp, @all, 'token_proxy_request query'),
        location('long', "http://long.example:$port/3600", @all),
        location('many', "http://many.example:$port/3600", @all),
        location('block', 'http://block.example/3600', @all),
        location('address', "http://127.0.0.2:$port/3600", @all),
        location('localhost', "http://LocalHost:@{[ $there->port ]}/3600", @all),
        with_if(location('if', $idp, @all)),
        location('tls', "https://idp.example:$tls/3600", @all,
            "token_proxy_ssl_trusted_certificate $dir/ca.crt"),
        location('named', "https://other.example:$tls/3600", @all,
            "token_proxy_ssl_trusted_certificate $dir/ca.crt"),
        location('fixed', "http://$NAME:$port/3600", @all),
        "location = /page { proxy_pass http://$NAME:$port/3600; }\n",
        "location = /api { token_proxy_bearer /kept; proxy_pass http://127.0.0.3:$port; }\n",
        "} upstream block.example { server 127.0.0.2:$port;\n",
        "} server { listen 127.0.0.1:@{[ free_port() ]};\n"),
)->start;

pass('nginx starts before DNS does');


# no DNS yet
{
    my $got = $nginx->get('/plain');

    is($got->{status}, 502, 'no DNS: 502');
    is($got->{content}, '{"error":"server_error",'
        . '"error_description":"The token endpoint could not be reached."}', '... as JSON');
    like($nginx->error_log, qr/\[error\].* idp\.example could not be resolved \(110: /,
        '... and the log names the host');
    is(token($nginx->get('/address')), 'AT-2', 'an address needs no DNS');
    is(token($nginx->get('/block')), 'AT-2', 'nor does the name of a block');
    is(token($nginx->get('/localhost')), 'AT-1', 'nor localhost');
    is($nginx->get('/kept')->{status}, 502, 'with a cache: 502 as well');
}


# there it is
$dns->set('idp.example', '127.0.0.2', 1);
$dns->set('long.example', '127.0.0.2', 60);
$dns->set('many.example', ['127.0.0.4', '127.0.0.3'], 60);
$dns->set('other.example', '127.0.0.2', 60);
$dns->set($NAME, '127.0.0.3', 60);
$dns->start;
{
    my $got = answer('/plain');

    is(token($got), 'AT-2', 'when DNS is there, the endpoint is found');
    is(member($got, 'host'), "idp.example:$port", '... asked by its name and port');
    ok($dns->asked('idp.example', 28), 'nginx asks for IPv6 addresses, too')
        or diag('AAAA was not asked for');
    is(token($nginx->get('/address')), 'AT-2', 'an address stays what it is');
    is(token($nginx->get('/block')), 'AT-2', 'so does a block');
    is(token($nginx->get('/localhost')), 'AT-1', 'so does localhost');
    is($dns->asked($_), 0, "... nobody asks for $_") for 'block.example', 'localhost';

    is(token(answer('/kept')), 'AT-2', 'a token is cached');
    is(status($nginx->get('/kept')), 'HIT', '... and used');
    is(token(answer('/short')), 'AT-2', 'and one that lives for four seconds');

    $got = $nginx->get('/query');
    is(token($got), 'AT-2', 'token_proxy_request query');
    is(member($got, 'method'), 'GET', '... by GET');
    is(token($nginx->get('/if?if=1')), 'AT-2', 'an "if" block in the location');
    is($nginx->get('/api')->{content}, 'Bearer AT-2', 'token_proxy_bearer');
    is(token($nginx->get('/many')), 'AT-3', 'an address where nobody listens is passed over');

    is(token($nginx->get('/long')), 'AT-2', 'a name with a long TTL') for 1 .. 3;
    is($dns->asked('long.example'), 1, '... is asked for once');
}


# https
{
    my $got = $nginx->get('/tls');

    is(token($got), 'AT-2', 'https: verified by the name');
    is(member($got, 'sni'), 'idp.example', '... which the endpoint is told');
    is(member($got, 'host'), "idp.example:$tls", '... in the request as well');
    is($nginx->get('/named')->{status}, 502, 'a certificate of another name is refused');
    like($nginx->error_log, qr/certificate does not match "other\.example"/,
        '... as the log says');
}


# an upstream that nginx has made at the start, for another location
{
    is(token($nginx->get('/page')), 'AT-2', 'proxy_pass has resolved a name at the start');
    is(token($nginx->get('/fixed')), 'AT-3', '... the endpoint is resolved while serving');
}


# the address changes
{
    $dns->set('idp.example', '127.0.0.3', 1);

    is(wait_for(sub { token($nginx->get('/plain')) eq 'AT-3' }, 10), 1,
        'an address that changes is followed');
    is(token($nginx->get('/tls')), 'AT-3', '... by https as well');
    is(token($nginx->get('/kept')), 'AT-2', 'a cached token is no reason to ask');
}


# DNS dies, and returns
{
    wait_for { token($nginx->get('/short')) eq 'AT-3' } 10;
    $dns->stop;
    sleep 2.2;

    is($nginx->get('/plain')->{status}, 502, 'DNS is gone, and the TTL is over: 502');
    is(status($nginx->get('/kept')), 'HIT', 'a cached token goes on');
    is($nginx->get('/kept')->{status}, 200, '... with 200');
    is($nginx->get('/api')->{content}, 'Bearer AT-2', '... for an API as well');

    is(wait_for(sub { $nginx->get('/short')->{status} == 502 }, 10), 1,
        'one that ends meanwhile is not used any longer');

    $dns->start;
    is(token(answer('/plain')), 'AT-3', 'DNS is back, and so is the endpoint');
    is(token(answer('/short')), 'AT-3', '... with a cache as well');
}


# a name that is not there
{
    $dns->remove('idp.example');

    is(wait_for(sub { $nginx->get('/plain')->{status} == 502 }, 10), 1,
        'a name that is gone: 502');
    like($nginx->error_log, qr/idp\.example could not be resolved \(3: Host not found\)/,
        '... and the log says so');

    $dns->set('idp.example', '127.0.0.2', 1);
    is(token(answer('/plain')), 'AT-2', '... until it is there again');
}

no_secrets($nginx);
$nginx->stop;


# where a resolver may stand
for my $case (['http', $RESOLVER, ''], ['server', '', $RESOLVER], ['location', '', '', $RESOLVER =~ s{;$}{}r]) {
    my ($level, $http, $server, $location) = @$case;
    my $other = Token::Server->new(
        http => zone() . $http,
        server => $server . location('t', $idp, @all, $location // ()),
    );

    is(($other->test)[0], 0, "a resolver at $level level: no DNS is needed at the start");
    $other->start;
    is(token($other->get('/t')), 'AT-2', '... and the name is resolved');
    $other->stop;
}


# without one
{
    my $other = Token::Server->new(
        log_level => 'notice',
        http => zone(),
        server => location('t', "http://$NAME:$port/3600", @kept)
            . "location = /unused { token_proxy_endpoint http://no-such-host.invalid/; }\n",
    )->start;

    is(token($other->get('/t')), 'AT-2', 'no resolver: a name is resolved at the start');
    is(status($other->get('/t')), 'HIT', 'its token is cached');

    $other->configure(http => zone() . $RESOLVER)->reload;
    is(status($other->get('/t')), 'HIT', '... and found again when a resolver is added');
    $other->stop;

    $other->configure(http => zone(),
        server => "\n" . location('t', 'http://no-such-host.invalid/', @all));

    my ($status, $output) = $other->test;
    my $line = () = substr(conf($other), 0, index conf($other), 'location = /t') =~ /\n/g;

    is($status, 1, 'no resolver: nginx does not start if it cannot resolve a name');
    like($output, qr/\[emerg\].* host not found in upstream "no-such-host\.invalid" in \S+nginx\.conf:@{[ $line + 1 ]}$/m,
        '... and says where');
}


# what nginx -t says of a host in a variable
{
    my $warning = qr/\[warn\].* the host of "token_proxy_endpoint" "([^"]+)" depends on a variable, and without a "resolver" it can be an address or the name of an upstream block only in \S+nginx\.conf:\d+/;
    my %warned = (
        'https://$arg_tenant.example/token?a=b' => 'https://$arg_tenant.example/token',
        '$arg_url' => '$arg_url',
        '$arg_url/token' => '$arg_url/token',
        '${scheme}://idp.example/' => undef,
        'https://idp.example:$arg_port/' => 'https://idp.example:$arg_port/',
        'https://idp.example/$arg_tenant/token' => undef,
        'https://idp.example/?tenant=$arg_tenant' => undef,
    );

    for my $url (sort keys %warned) {
        my $line = with_if(location('t', "'$url'", @all));
        my $other = Token::Server->new(http => zone(), server => $line);
        my ($status, $output) = $other->test;
        my @said = $output =~ /$warning/g;

        is_deeply([$status, @said], [0, $warned{$url} // ()],
            "$url: " . ($warned{$url} ? 'a warning' : 'none'));
    }

    # a host that is constant is resolved while serving as well
    my %constant = (
        '${scheme}://idp.example/' => 'idp.example',
        'https://idp.example:8443/$arg_tenant/token' => 'idp.example',
        'https://idp.example/?tenant=$arg_tenant' => 'idp.example',
        'http://localhost/$arg_tenant' => 'localhost',
        'https://192.0.2.1/$arg_tenant' => undef,
        'https://[2001:db8::1]:8443/$arg_tenant' => undef,
        'https://block.example/$arg_tenant' => undef,
    );

    for my $url (sort keys %constant) {
        my $line = with_if(location('t', "'$url'", @all));
        my $other = Token::Server->new(http => zone()
            . "upstream block.example { server 127.0.0.1; }\n", server => $line);
        my ($status, $output) = $other->test;
        my @said = $output =~ /\[warn\].* "token_proxy_endpoint" "[^"?]+" has variables, and without a "resolver" its host "([^"]+)" cannot be resolved in \S+nginx\.conf:\d+/g;

        is_deeply([$status, @said], [0, $constant{$url} // ()],
            "$url: " . ($constant{$url} ? 'a warning' : 'none'));
    }

    my $url = '$arg_url';
    my $other = Token::Server->new(http => zone() . $RESOLVER,
        server => location('t', $url, @all));
    unlike(($other->test)[1], qr/\[warn\]/, 'none with a resolver');

    $other->configure(server => location('t', 'http://idp.example/', @all));
    like(($other->test)[1], qr/\[warn\].*travels in clear to "token_proxy_endpoint" "http:\/\/idp\.example\/"/,
        'a secret in clear is worth a warning with a resolver, too');

    $other->configure(http => zone() . $RESOLVER
        . "upstream block.example { server 127.0.0.1; }\n",
        server => location('t', 'http://block.example:8080/', @all));
    like(($other->test)[1], qr/\[emerg\].*upstream "block\.example" may not have port 8080 in \S+nginx\.conf:\d+/,
        'the name of a block takes no port');
}


# What comes when the name has been resolved, some time after it is there.
sub answer {
    my ($path) = @_;
    my $got;

    wait_for { $got = $nginx->get($path); $got->{status} == 200 } 10;
    return $got;
}


# What is inherited by an "if" block is that of the location.
sub with_if { return $_[0] =~ s/\}\n\z/if (\$arg_if) { set \$none 1; } }\n/r }

sub conf { return Token::Util::slurp($_[0]->dir . '/conf/nginx.conf') }
