# Who nginx is to the store, and whom it takes for the store: passwords, users,
# TLS. What is wrong costs a line in the log, and no caller a token.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use Token::Cache;
use Token::Cert;
use Token::Dns;
use Token::Endpoint;
use Token::Fleet;
use Token::Redis;
use Token::Util qw($ROOT free_port slurp spew wait_for work_dir);

my $dir = work_dir();
my $ca = Token::Cert->authority($dir, 'store-ca');
my $stranger = Token::Cert->authority($dir, 'other-ca');
my %cert = (
    right => $ca->issue('right', 'localhost', 'store.example'),
    other => $ca->issue('other', 'other.example'),
);

# All that it needs, as the page for operators says.
my ($RULES) = slurp("$ROOT/docs/fleet.md") =~ /^user tokens on >PASSWORD (.* -\@all .*)$/m
    or die "docs/fleet.md has no user\n";

my $plain = Token::Redis->new(users => [
    "tokens on >pw-tokens $RULES",
    'elsewhere on >pw ' . $RULES =~ s/~token_proxy:/~elsewhere:/r,
    'nothing on >pw ~* -@all',
])->start;
my $closed = Token::Redis->new(password => 'pw "of" all')->start;
my $tls = Token::Redis->new(ca => $ca, cert => $cert{right},
    password => 'pw-tls')->start;
my $tls_other = Token::Redis->new(ca => $ca, cert => $cert{other})->start;

chmod 0600, spew("$dir/password", "pw-tls\n");

# a cluster of one node; its other port is for other nodes
my $cluster = Token::Redis->new(config => ['cluster-enabled yes',
    'cluster-port ' . free_port()])->start;
$cluster->command('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
wait_for { $cluster->command('CLUSTER', 'INFO') =~ /cluster_state:ok/ } 10;

my $dns = Token::Dns->new;
$dns->set('store.example' => '127.0.0.1', 60);

my $endpoint = Token::Endpoint->new;
my $fleet = Token::Fleet->new(machines => 2, workers => 1,
    env => { STORE_PASSWORD => 'pw-tokens' }, store => '',
    http => 'resolver 127.0.0.1:' . $dns->port . '; resolver_timeout 2s;',
    server => location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"'),
)->start;
my $port = $plain->port;
my $tls_url = $tls->url . ' password=pw-tls trusted_certificate=' . $ca->file;

# What it is, token_proxy_cache_store, and what the log says if the store is not
# to be used.
my @CASES = (
    ['no password', $plain->url],
    ['a password that nobody wants', $closed->url . ' password=other', qr/WRONGPASS/],
    ['no password where one is wanted', $closed->url, qr/NOAUTH/],
    ['the right one, right after it', $closed->url . q( 'password=pw "of" all')],
    ['a user, with no more rights than it needs',
        "redis://tokens\@127.0.0.1:$port password=env:STORE_PASSWORD"],
    ['a user with a wrong password',
        "redis://tokens\@127.0.0.1:$port password=no", qr/WRONGPASS/],
    ['a user with rights elsewhere',
        "redis://elsewhere\@127.0.0.1:$port password=pw", qr/NOPERM/],
    ['a user without rights',
        "redis://nothing\@127.0.0.1:$port password=pw", qr/NOPERM/],
    ['a user that is not there',
        "redis://nobody\@127.0.0.1:$port password=pw", qr/WRONGPASS/],
    ['a name that the resolver knows', "redis://store.example:$port"],
    ['TLS of a name that the resolver knows', 'rediss://store.example:' . $tls->port
        . ' password=pw-tls trusted_certificate=' . $ca->file],
    ['a name that is not there', "redis://nowhere.example:$port", qr/"nowhere\.example" was not resolved/],
    ['another database', $plain->url . '/3'],
    ['a database that is not there', $plain->url . '/300', qr/answered ERR/],
    ['a node of a cluster', $cluster->url],
    ['a Unix socket', 'unix:' . $plain->socket],
    ['a Unix socket that is not there', "unix:$dir/none", qr/No such file/],
    ['TLS', $tls_url],
    ['TLS, and a password from a file',
        $tls->url . " password=file:$dir/password trusted_certificate=" . $ca->file],
    ['TLS of another authority',
        $tls->url . ' password=pw-tls trusted_certificate=' . $stranger->file,
        qr/certificate is not trusted/],
    ['TLS of an authority of the system',
        $tls->url . ' password=pw-tls', qr/certificate is not trusted/],
    ['TLS of another name',
        $tls_other->url . ' trusted_certificate=' . $ca->file, qr/another name/],
    ['TLS of another name, which is expected',
        $tls_other->url . ' name=other.example trusted_certificate=' . $ca->file],
    ['TLS of a name that is not expected',
        "$tls_url name=third.example", qr/another name/],
    ['TLS where the store has none',
        "rediss://localhost:$port trusted_certificate=" . $ca->file,
        qr/TLS handshake failed|not used for now/],
    ['no TLS where the store has it',
        'redis://127.0.0.1:' . $tls->port . ' password=pw-tls', qr/not used for now/],
    ['nothing that listens', 'redis://127.0.0.1:1', qr/refused/],
    ['no password, at the end', $plain->url],
);

plan(tests => 5 * @CASES + 3);

my $number = 0;
my $down;

for my $case (@CASES) {
    my ($name, $store, $wrong) = @$case;
    my $before = $endpoint->calls;
    my @seen = map { length $_->error_log } $fleet->machines;

    $number++;

    # what says nothing need not be waited for
    my $silent = ($wrong // '') =~ /not used/;

    $fleet->configure(store => $store . ($silent ? '' : $PATIENT));
    $fleet->reload;

    my @got = map { $fleet->get($_, "/token?key=$number") } 0, 1;

    is(scalar(unanswered(@got)), 0, "$name: callers have a token each")
        or diag(explain(\@got));
    is($endpoint->calls - $before, $wrong ? 2 : 1, $wrong ? '... of their machine'
        : '... one for both machines');

    for my $nginx ($fleet->machines) {
        my $log = substr $nginx->error_log, shift @seen;
        my @lines = grep { /\[(?:warn|error|crit|alert|emerg)\]/ } split /\n/, $log;

        if ($wrong) {
            is(scalar(grep { /$wrong/ } @lines), 1, '... a line in the log')
                or diag(join "\n", @lines, $log =~ /(.*store.*)/g);

        } else {
            is(scalar(grep { !$down || !/is used again/ } @lines), 0, '... nothing in the log')
                or diag(@lines);
        }
    }

    unlike(join('', $fleet->said(qr/./)), qr/pw-tokens|pw-tls|pw "of"/,
        '... and no password');
    $down = $wrong;
}


# What that user may do is what was done.
my @rights = map { substr $_, 1 } grep { /^\+/ } split ' ', $RULES;
my @used = grep { $plain->calls($_) } @rights;

cmp_ok(scalar(@rights), '>', 8, 'the user has rights');
is("@used", "@rights", '... and needs each');
is(scalar(() = $fleet->said(qr/\[(?:crit|alert|emerg)\]/)), 0, 'nothing worse in the logs');
