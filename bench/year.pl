# Called by year.sh: plays the year, and judges it.
#
# Each location has a token, a load and an endpoint of its own. Of each call
# an endpoint tells when it came, so that each can be held to a reason that the
# endpoint and this script know of, without asking nginx; nginx's own counts must
# come to the same number.

use strict;
use warnings;

use JSON::PP qw(decode_json);
use List::Util qw(max sum0);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Dns;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port slurp_or_empty spew wait_for work_dir);

# Of a token, in seconds; it is renewed at half of it.
my $LIFETIME = 4;

# The longest backoff of an endpoint that is down.
my $BACKOFF = 1;

# What may lie between nginx's look at its clock and that of an endpoint.
my $SLACK = 0.3;

my @LOCATIONS = qw(secret two key assertion moved down);
my @REASONS = ('first token', 'renewal', 'other secret', 'worker killed',
    'frozen', 'endpoint back', 'no reason');

my $dir = work_dir();
my $dns = Token::Dns->new;
my $port = free_port();
my (%endpoint, %log, %load, %at, @wrong);

$endpoint{$_} = Token::Endpoint->new for qw(secret two key assertion down);
$endpoint{moved} = Token::Endpoint->new(address => '127.0.0.2', port => $port);
my $moved_to = Token::Endpoint->new(address => '127.0.0.3', port => $port);

$dns->set('idp.example', '127.0.0.2', 1);

put(secret => 'one');
put(new => 'two');
put(old => 'one');
put(assertion => 'eyJ.one.sig');
key($_) for 1, 2;
copy('key.1', 'key');

accepts(secret => secrets => ['one']);
accepts(two => secrets => ['one']);
accepts(assertion => secrets => ['eyJ.one.sig']);
accepts(key => keys => ["$dir/key.1.pub"]);
accepts($_) for qw(moved down);
$moved_to->answer(expires_in => $LIFETIME);

my $nginx = Token::Server->new(
    workers => 2,
    log_level => 'notice',
    http => zone() . "resolver 127.0.0.1:@{[ $dns->port ]};",
    server => join('',
        site('secret', "token_proxy_client_secret file:$dir/secret"),
        site('two', "token_proxy_client_secret file:$dir/new file:$dir/old"),
        site('key', 'token_proxy_auth_method private_key_jwt',
            "token_proxy_private_key $dir/key"),
        site('assertion', 'token_proxy_auth_method client_assertion',
            "token_proxy_client_assertion file:$dir/assertion"),
        location('moved', "http://idp.example:$port/token"),
        site('down', "token_proxy_retry_backoff 500ms ${BACKOFF}s"),
        'location = /status { token_proxy_status; access_log off; }'),
)->start;

my $begin = time;

$load{$_} = Token::Client->load($nginx->port, "/$_", processes => 2,
    seconds => 600, gap => 0.02) for @LOCATIONS;

happens('two lifetimes, and nothing happens', sub { sleep 2 * $LIFETIME });

happens('a secret is replaced by rename, both are valid', sub {
    accepts(secret => secrets => ['one', 'two']);
    put(secret => 'two');
    sent_by('secret', sub { basic($_[0]) =~ /:two$/ });
});

happens('... only the new one', sub {
    accepts(secret => secrets => ['two']);
    renewals('secret', 2);
});

happens('of two secrets the other one becomes valid', sub {
    accepts(two => secrets => ['two']);
    renewals('two', 3);
});

happens('a key is replaced by rename, both are valid', sub {
    accepts(key => keys => ["$dir/key.1.pub", "$dir/key.2.pub"]);
    copy('key.2', 'key');
    sleep 1.5;
    renewals('key', 1);
});

happens('... only the new one', sub {
    accepts(key => keys => ["$dir/key.2.pub"]);
    renewals('key', 2);
});

happens('an assertion is replaced by rename, both are valid', sub {
    accepts(assertion => secrets => ['eyJ.one.sig', 'eyJ.two.sig']);
    put(assertion => 'eyJ.two.sig');
    sent_by('assertion', sub { $_[0] =~ /client_assertion=eyJ\.two\.sig/ });
});

happens('... only the new one', sub {
    accepts(assertion => secrets => ['eyJ.two.sig']);
    renewals('assertion', 2);
});

happens("an endpoint's address moves", sub {
    $dns->set('idp.example', '127.0.0.3', 1);
    wait_for { $moved_to->calls } 15;
});

# nobody is left at the old address
happens('... nobody is at the old one', sub {
    sleep 1.5;
    $log{moved} = [$endpoint{moved}->log];
    $endpoint{moved}->stop;
    $endpoint{moved} = $moved_to;
    renewals('moved', 2);
});

happens('an endpoint is down for a lifetime', sub {
    renewals('down', 1);
    sleep $SLACK;

    $log{down} = [$endpoint{down}->log];
    $at{expires} = $log{down}[-1]{at} + $LIFETIME;
    $at{down_port} = $endpoint{down}->port;
    $endpoint{down}->stop;
    sleep 2 * $LIFETIME;
});

happens('... and back', sub {
    $endpoint{down} = Token::Endpoint->new(port => $at{down_port});
    accepts('down');
    $at{back} = time;
    renewals('down', 2);
});

# while a token is on its way
for my $seconds (3, 6) {
    happens("all processes are frozen for $seconds seconds", sub {
        on_its_way('secret');

        my @pids = ($nginx->workers, $nginx->pid);

        kill STOP => @pids;
        push @{ $at{frozen} }, [time];
        sleep $seconds;
        push @{ $at{frozen}[-1] }, time;
        kill CONT => reverse @pids;
        renewals($_, 1) for @LOCATIONS;
    });
}

happens('five reloads', sub {
    for (1 .. 5) {
        $nginx->reload;
        sleep 1;
    }
});

happens('a worker is killed that calls an endpoint', sub {
    on_its_way('key');

    my ($pid) = grep { connected($_, $endpoint{key}->port) } $nginx->workers;

    kill KILL => $pid // die "nobody calls the endpoint\n";
    $at{killed} = time;
    renewals('key', 2);
});

happens('two lifetimes, and nothing happens', sub { sleep 2 * $LIFETIME });

my %result = map { $_ => $load{$_}->stop } @LOCATIONS;
my $seconds = time - $begin;

sleep 1;
push @{ $log{$_} }, $endpoint{$_}->log for @LOCATIONS;

my $said = nginx_counts();

judge_requests($_, $result{$_}) for @LOCATIONS;
judge_calls();

my ($alert) = $nginx->error_log =~ /^(.*\[(?:alert|emerg|crit)\].*)$/m;

wrong("nginx: $alert") if $alert && $alert !~ /exited on signal 9/;
$nginx->stop('QUIT');

printf "\n%d s, %d requests. %s\n", $seconds,
    sum0(map { $_->{requests} } values %result),
    @wrong ? 'Wrong:' : 'No request has failed that could have had a token, '
        . 'and each call has a reason.';
print "- $_\n" for @wrong > 30 ? (@wrong[0 .. 29], '...') : @wrong;
exit(@wrong ? 1 : 0);


# What happens, in the present.

# A line for it, with what it has taken.
sub happens {
    my ($what, $how) = @_;
    my $start = time;

    if (!$at{happens}++) {
        print "| what happens | at, s | for, s |\n|---|---|---|\n";
        STDOUT->autoflush;
    }

    $how->();
    printf "| %s | %.0f | %.0f |\n", $what, $start - $begin, time - $start;
    return;
}


sub site {
    my ($name, @directives) = @_;

    return location($name, $endpoint{$name}->url, @directives);
}


sub accepts {
    my ($name, @what) = @_;

    $endpoint{$name}->answer(expires_in => $LIFETIME, @what);
    return;
}


sub put {
    my ($name, $content) = @_;

    chmod 0600, spew("$dir/.new", $content);
    rename "$dir/.new", "$dir/$name" or die "$name: $!\n";
    return;
}


sub key {
    my ($n) = @_;
    my $output = `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $dir/key.$n 2>&1 &&
        openssl pkey -in $dir/key.$n -pubout -out $dir/key.$n.pub 2>&1`;

    die "openssl: $output\n" if $?;
    return;
}


sub copy {
    my ($from, $to) = @_;

    put($to, slurp_or_empty("$dir/$from"));
    return;
}


# Waits for more calls of a location's endpoint.
sub renewals {
    my ($name, $n) = @_;
    my $calls = $endpoint{$name}->calls;

    wait_for { $endpoint{$name}->calls >= $calls + $n } 5 * $LIFETIME
        or wrong("$name: its token is not renewed");
    return;
}


# Waits for a request like that, and until no worker may have the file of before.
sub sent_by {
    my ($name, $like) = @_;

    wait_for { $like->(($endpoint{$name}->requests)[-1]) } 5 * $LIFETIME
        or wrong("$name: the new one is not sent");
    sleep 1.2;
    return;
}


# Waits for a call that takes a second, and returns in its midst.
sub on_its_way {
    my ($name) = @_;

    $endpoint{$name}->next({ delay => 1 });
    renewals($name, 1);
    sleep 0.2;
    return;
}


sub basic {
    my ($request) = @_;

    require MIME::Base64;
    return $request =~ /^Authorization: Basic (\S+)/m
        ? MIME::Base64::decode_base64($1) : '';
}


# Whether a process has a connection to a port.
sub connected {
    my ($pid, $port) = @_;
    my %inode;

    for (split /\n/, slurp_or_empty("/proc/$pid/net/tcp")) {
        my (undef, undef, $remote, @rest) = split;

        $inode{ $rest[6] } = 1 if hex(($remote =~ /:(\w+)/)[0] // 0) == $port;
    }

    return grep { (readlink($_) // '') =~ /^socket:\[(\d+)\]/ && $inode{$1} }
        glob "/proc/$pid/fd/*";
}


# The judge.

sub wrong {
    push @wrong, @_;
    return;
}


# A request may fail while its endpoint is down and the last token has expired.
sub judge_requests {
    my ($name, $result) = @_;
    my ($from, $to) = $name eq 'down'
        ? ($at{expires} - $SLACK, $at{back} + $BACKOFF + $SLACK) : (0, 0);
    my @not_excused = grep { $_->[1] < $from || $_->[0] > $to }
        @{ $result->{failures} };

    print "\n| location | requests | failed | of them without a valid token | slowest, s |\n"
        . "|---|---|---|---|---|\n" if $name eq $LOCATIONS[0];
    printf "| %s | %d | %d | %d | %.2f |\n", $name,
        @$result{qw(requests failed)}, $result->{failed} - @not_excused,
        $result->{slowest};

    wrong(sprintf '%s: "%s" at %.1f s, for a request of %.1f s', $name,
        $_->[2], $_->[1] - $begin, $_->[0] - $begin) for @not_excused;
    wrong("$name: fewer than 1000 requests") if $result->{requests} < 1000;
    wrong('down: nothing has failed') if $name eq 'down' && !$result->{failed};
    return;
}


sub judge_calls {
    my %sum;

    print "\n| location | ", join(' | ', @REASONS), " | calls | nginx's count |\n",
        '|---' x (@REASONS + 3), "|\n";

    for my $name (@LOCATIONS) {
        my %count = reasons($name);
        my $calls = @{ $log{$name} };
        my $counted = $said->{$name} + ($count{'worker killed'} // 0);

        print "| $name | ", join(' | ', map { $count{$_} // 0 } @REASONS),
            " | $calls | $said->{$name} |\n";
        $sum{$_} += $count{$_} for keys %count;

        wrong("$name: $count{'no reason'} calls without a reason")
            if $count{'no reason'};
        wrong("$name: $calls calls, and $counted that nginx knows of")
            if $calls != $counted;
    }

    print '| all | ', join(' | ', map { $sum{$_} // 0 } @REASONS), ' | ',
        sum0(map { scalar @$_ } @log{@LOCATIONS}), ' | ', sum0(values %$said), " |\n";

    $sum{$_} or wrong("nothing was called for the reason \"$_\"")
        for grep { $_ ne 'no reason' } @REASONS;
    return;
}


# Calls of a location's endpoint by reason.
sub reasons {
    my ($name) = @_;
    my ($before, %count);

    for my $call (@{ $log{$name} }) {
        my $reason = reason($name, $before, $call);

        $count{$reason}++;
        wrong(sprintf '%s: a call at %.2f s, %.2f s after the last', $name,
            $call->{at} - $begin, $call->{at} - $before->{at})
            if $reason eq 'no reason';
        $before = $call;
    }

    return %count;
}


# Why there is a call after that one.
sub reason {
    my ($name, $before, $call) = @_;

    return 'first token' if !$before;

    my $at = $call->{at};
    my $since = $at - $before->{at};

    if ($before->{status} == 401) {
        return $name eq 'two' && $since < 1 ? 'other secret' : 'no reason';
    }

    # the call that took a second, and its worker; a lease is of two seconds
    return 'worker killed' if $name eq 'key' && $at > $at{killed}
        && $before->{at} < $at{killed} && $at < $at{killed} + 2 + 2 * $SLACK;

    for (@{ $at{frozen} }) {
        my ($from, $to) = @$_;

        return 'frozen' if $before->{at} < $to && $at > $to && $at < $to + 1
            && ($to - $before->{at} > $LIFETIME / 2 - $SLACK);
    }

    return 'endpoint back' if $name eq 'down' && $before->{at} < $at{back}
        && $at > $at{back} && $at < $at{back} + $BACKOFF + $SLACK;

    # due, and before the token has expired
    return 'renewal' if $since > $LIFETIME / 2 - $SLACK && $since < $LIFETIME;

    return 'no reason';
}


# What nginx counts: fetches that have ended, without those that did not get to
# the endpoint, and what was asked again with the other secret.
sub nginx_counts {
    my $status = decode_json($nginx->get('/status')->{content});
    my $endpoints = $status->{zones}{tokens}{endpoints};
    my %host = map { $_ => '127.0.0.1:' . $endpoint{$_}->port } @LOCATIONS;
    my %said;

    $host{moved} = "idp.example:$port";

    for my $name (@LOCATIONS) {
        my $counts = $endpoints->{ $host{$name} };

        $said{$name} = sum0(values %{ $counts->{fetches} })
            - $counts->{fetches}{unreachable} + $counts->{client_secret_retries};
    }

    return \%said;
}
