#!/usr/bin/env perl
#
# Calls and includes go down: module > conf > handlers > cache > endpoint >
# util > ngx_http_token.h, and files of one folder call each other in no circle.
# Usage: layers.pl DIRECTORY.

use strict;
use warnings;

my $top = shift // die "usage: $0 DIRECTORY\n";
my @layers = ('', qw(conf handlers cache endpoint util));
my %rank = map { $layers[$_] => $_ } 0 .. $#layers;
my (%text, %includes, %layer, %home, %calls, $wrong);

for my $path (glob "$top/*.[ch] $top/*/*.[ch]") {
    my ($folder, $file) = $path =~ m{^\Q$top\E/(?:(\w+)/)?(\w+\.[ch])$};

    $layer{$file} = $file eq 'ngx_http_token.h' ? @layers : $rank{$folder // ''}
        // die "$path: no layer has the name $folder\n";

    open(my $in, '<', $path) or die "$path: $!\n";
    local $/;
    $text{$file} = <$in> =~ s{/\*.*?\*/}{}gsr;
    $includes{$file} = [$text{$file} =~ m{^\s*#\s*include\s*["<](?:[^">\n]*/)?(\w+\.[ch])[">]}mg];
}

die "$top: few files\n" if keys %text < 20;

# A function's file is where its body is, a variable's where it is not "extern".
for my $file (sort grep { /\.c$/ } keys %text) {
    $home{$1} = $file while $text{$file} =~ /^(?!static)\w[^\n;]*\n(\w+)\([^;{]*\)\n\{/mg;
    $home{$1} = $file while $text{$file}
        =~ /^(?!static|extern|typedef)\w[\w ]* \**(ngx_http_token_\w+)(?:\[\w*\])?(?: =|;)/mg;
}

# nginx's own interfaces ask all files for it
delete $home{ngx_http_token_module};

die "$top: too few functions were found\n" if keys %home < 100;

for my $file (sort keys %text) {
    complain($file, "includes $_", $_) for @{$includes{$file}};

    for my $name ($text{$file} =~ /\b(ngx_http_token_\w+)\b/g) {
        my $callee = $home{$name} or next;

        next if $callee eq $file || $calls{$file}{$callee}++;

        complain($file, "uses $name of $callee", $callee);
    }
}

# a header names all functions of its folder
circle($_, {}, $_) for grep { /\.c$/ } sort keys %calls;

exit($wrong ? 1 : 0);


sub complain {
    my ($file, $what, $other) = @_;

    return if !defined $layer{$other} || $layer{$other} >= $layer{$file};

    print "$file $what, which is in a layer above\n";
    $wrong = 1;
}


# Follows calls within a folder, each file once.
sub circle {
    my ($file, $seen, @way) = @_;

    for my $next (sort keys %{$calls{$file}}) {
        if ($next eq $way[0]) {
            print join(' > ', @way, $next), " is a circle\n";
            $wrong = 1;

        } elsif ($layer{$next} == $layer{$file} && !$seen->{$next}++) {
            circle($next, $seen, @way, $next);
        }
    }
}
